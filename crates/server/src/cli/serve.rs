//! `brigade serve`: agents over HTTP.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use brigade_core::Observer;
use brigade_observability::{Logging, LoggingHandle, Metrics, MetricsHandle, RunLog};
use clap::Args;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    api::listen,
    api::{self, Current, Doors, Site, Watchers},
    app::{App, Standing},
    cli::demo::Simulator,
    cli::exit::Exit,
    cli::signals,
    config::{ConfigFile, Loaded, Log, Written},
    health::providers::Reach,
    runs::spans::Spans,
    runs::store::Store,
};

/// Arguments of `brigade serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade serve --demo                     the demo's team on its own simulator, no key needed
  brigade serve                            what ./brigade.toml describes
  brigade serve --config team.toml --listen 127.0.0.1:9000

Ask it:
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{\"model\": \"desk\", \"messages\": [{\"role\": \"user\", \"content\": \"Should we move to Kafka?\"}]}'

SIGTERM and Ctrl-C let running requests finish, up to `server.drain`; a second signal stops at once.
SIGHUP reads the configuration again; one that is wrong changes nothing.")]
pub(crate) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to listen, whatever the configuration says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Serves the team of `brigade demo` on a simulated provider; needs no configuration
    #[arg(long)]
    demo: bool,
}

/// Reads the configuration again when it is told to.
struct Reload {
    serve: Serve,
    /// What the configuration said at the start.
    started: Vec<Written>,
    standing: Standing,
    logging: LoggingHandle,
}

/// What is taken at the start only: sockets and files that are open, and accounts that were spent from.
const AT_START: [&str; 13] = [
    "budget",
    "log.events",
    "log.format",
    "retention.events",
    "retention.runs",
    "retention.sessions",
    "server.drain",
    "server.kept_runs",
    "server.listen",
    "server.max_body",
    "server.max_runs",
    "server.metrics_listen",
    "store",
];

/// How long connections may take to end when all runs have.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<Exit> {
        let loaded = self.load()?;
        let logging = start_logging(&loaded.config.log)?;
        let simulator = if self.demo { Some(Simulator::start().await?) } else { None };
        let standing = Standing::new(&loaded.config).kept_in(Store::of(&loaded).await?).await?;
        let current = current(&loaded, simulator.as_ref(), (standing.clone(), None)).await?;
        let watchers = watchers(&loaded, &current, standing.store.clone())?;
        let site = Site::new(current, watchers);
        let _sweep = standing.store.clone().map(|store| owned(store.sweep(loaded.config.retention.notes)));
        let _reach = owned(Reach::watch(Arc::clone(&site)));
        let reload = Reload { serve: self, started: loaded.values, standing, logging };
        let _reload = owned(reload.at_each_hangup(signals::Hangups::listen(), Arc::clone(&site)));
        work(site).await?;
        Ok(Exit::Finished)
    }

    fn load(&self) -> anyhow::Result<Loaded> {
        let mut loaded =
            if self.demo { Loaded::parse(Path::new("(demo)"), "", std::env::vars())? } else { self.config.load()? };
        if let Some(listen) = self.listen {
            loaded.config.server.listen = listen;
        }
        Ok(loaded)
    }
}

impl Reload {
    /// Reads the configuration again at each SIGHUP, all of it or nothing.
    async fn at_each_hangup(self, mut hangups: signals::Hangups, site: Arc<Site>) {
        loop {
            hangups.next().await;
            if self.serve.demo {
                tracing::info!("the demo has no configuration to read again");
                continue;
            }
            match self.read(&site).await {
                Ok(()) => tracing::info!("read {} again", self.serve.config.path.display()),
                Err(error) => tracing::error!("kept the configuration as it was: {error:#}"),
            }
        }
    }

    async fn read(&self, site: &Site) -> anyhow::Result<()> {
        let mut loaded = self.serve.load()?;
        let before = site.current();
        // A socket that is open stays where it is, and whether keys are needed follows from it.
        loaded.config.server.listen = before.server.listen;
        let current = current(&loaded, None, (self.standing.clone(), Some(&before.doors))).await?;
        if let Some(level) = &loaded.config.log.level {
            self.logging.set_level(level)?;
        }
        show(&site.metrics, &current);
        let gone =
            before.doors.callers().filter(|caller| current.doors.callers().all(|other| other.name != caller.name));
        gone.for_each(|caller| site.metrics.forget_budget(&caller.name));
        for key in AT_START.into_iter().filter(|key| !same(key, &self.started, &loaded.values)) {
            tracing::warn!("`{key}` has changed, which takes a restart; it stays as it was");
        }
        site.replace(current);
        Ok(())
    }
}

/// Whether both say the same about a key and all below it.
fn same(key: &str, one: &[Written], other: &[Written]) -> bool {
    let below =
        |written: &&Written| written.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let values = |all: &[Written]| {
        all.iter().filter(below).map(|written| (written.key.clone(), written.value.clone())).collect::<BTreeMap<_, _>>()
    };
    values(one) == values(other)
}

/// What the configuration says, ready to work; `before` is whom the server let in until now.
async fn current(
    loaded: &Loaded,
    simulator: Option<&Simulator>,
    (standing, before): (Standing, Option<&Doors>),
) -> anyhow::Result<Current> {
    let doors = Doors::new(&loaded.config, (&standing.ledger, standing.store.as_ref()), before).await?;
    let app = match simulator {
        Some(simulator) => App::demo(&simulator.base_url, standing)?,
        None => App::from_config(loaded, standing)?,
    };
    if app.agents.is_empty() {
        bail!("no agents are configured; add one as `[agents.NAME]`, or try `brigade serve --demo`");
    }
    Ok(Current { app, doors, server: loaded.config.server.clone() })
}

/// Listens until a signal says stop.
async fn work(site: Arc<Site>) -> anyhow::Result<()> {
    let current = site.current();
    let server = &current.server;
    let (stop, stopped) = watch::channel(false);
    let main = listen::bind(server.listen).await?;
    let address = main.local_addr()?;
    let _metrics = match server.metrics_listen {
        Some(address) => {
            Some(owned(listen::serve(listen::bind(address).await?, api::metrics_router(&site), stopped.clone())))
        }
        None => None,
    };
    let names: Vec<&str> = current.app.agents.keys().map(String::as_str).collect();
    println!("http://{address}");
    tracing::info!("listening on http://{address}; agents: {}", names.join(", "));
    let serving = listen::serve(main, api::router(&site), stopped);
    let stopping = async {
        signals::stop().await;
        tracing::info!("stopping: running requests may go on for {} s", server.drain.as_secs());
        // Connections are still accepted meanwhile, so that whoever asks for readiness is told.
        let cancelled = site.runs.drain(server.drain).await;
        if cancelled > 0 {
            tracing::warn!("cancelled {cancelled} runs that took too long to end");
        }
        // The receivers live as long as the servers.
        let _ = stop.send(true);
        tokio::time::sleep(LAST_WORDS).await;
    };
    let stopping_at_once = async {
        signals::stop().await;
        signals::stop().await;
        tracing::warn!("stopped by a second signal; running requests are lost");
    };
    tokio::select! {
        () = serving => {}
        () = stopping => {}
        () = stopping_at_once => {}
    }
    site.spans.shutdown().await;
    if let Some(store) = &site.store {
        store.close().await;
    }
    tracing::info!("stopped; {} spent", site.current().app.ledger().spending().total());
    Ok(())
}

fn start_logging(log: &Log) -> anyhow::Result<LoggingHandle> {
    let level = log.level.as_deref().unwrap_or("info");
    Logging::new().format(log.format).level(level).init().context("cannot set up the log")
}

fn watchers(loaded: &Loaded, current: &Current, store: Option<Store>) -> anyhow::Result<Watchers> {
    let metrics = metrics(current)?;
    let mut others: Vec<Arc<dyn Observer>> = Vec::new();
    if let Some(path) = &loaded.config.log.events {
        let path = loaded.folder.join(path);
        let recorder = RunLog::open(&path).with_context(|| format!("cannot write to {}", path.display()))?;
        others.push(Arc::new(recorder));
    }
    let spans = Spans::start()?;
    Ok(Watchers { metrics, spans, store, others })
}

fn metrics(current: &Current) -> anyhow::Result<MetricsHandle> {
    let metrics = Metrics::install(&current.app.labels).context("cannot set up metrics")?;
    metrics.watch_budget("process", current.app.ledger());
    show(&metrics, current);
    Ok(metrics)
}

/// Shows what this configuration names.
fn show(metrics: &MetricsHandle, Current { app, doors, .. }: &Current) {
    metrics.observer().add_names(&app.labels);
    metrics.watch_prices(&app.prices);
    doors.callers().for_each(|caller| metrics.watch_budget(&caller.name, &caller.account));
}

/// A task that ends with its handle.
fn owned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(work))
}
