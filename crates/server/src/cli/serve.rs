//! `brigade serve`

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use brigade_commands::{Exit, ListenHint, ProvidersArg, SimulatorProcess, note};
use brigade_config::{LoadedConfig, LogConfig, ServerConfig};
use brigade_edge::{HangupSignal, stop_signal};
use brigade_observability::{Logging, LoggingHandle};
use clap::Args;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::AbortOnDropHandle;

use super::{demo_history, reload::Reloads};
use crate::{api::api::Api, configured::ConfiguredApi};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brigade serve --demo                     the demo's team on its own simulator, without an API key
  brigade serve                            the agents in ./brigade.toml
  brigade serve --config team.toml --listen 127.0.0.1:9000

Send a request:
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{\"model\": \"desk\", \"messages\": [{\"role\": \"user\", \"content\": \"Should we move to Kafka?\"}]}'

SIGTERM and Ctrl-C let running requests finish, for at most `server.drain`; a second signal stops at once, with exit
code 5. Exit code 6 means that some cost could not be written to the store.
SIGHUP reloads the configuration; an invalid configuration changes nothing.")]
pub(super) struct ServeCommand {
    #[command(flatten)]
    providers: ProvidersArg,
    /// The address to listen on; overrides the configuration
    #[arg(long, value_name = "ADDRESS", value_parser = brigade_commands::address)]
    listen: Option<SocketAddr>,
    /// Serves the team of `brigade demo` on a simulated provider; needs no configuration
    #[arg(long, conflicts_with_all = ["config", "simulate"])]
    demo: bool,
    /// Begins with the runs of `brigade demo --serve`
    #[arg(skip)]
    history: bool,
    #[command(flatten)]
    _hint: ListenHint,
}

/// How long connections may take to close after all runs have ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl ServeCommand {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        // First, because a signal without a listener ends the process.
        let hangups = HangupSignal::listen();
        let loaded = self.load()?;
        let logging = start_logging(&loaded.config.log)?;
        loaded.ignored_variables.iter().for_each(|warning| tracing::warn!("{warning}"));
        let (server, asks_for_approvals) = (loaded.config.server.clone(), loaded.config.asks_for_approvals());
        // Before anything is started: a run that begins at an address in use would be paid for and never be seen.
        let listeners = Listeners::bind(&server).await?;
        let simulator = if self.demo { Some(SimulatorProcess::start().await?) } else { None };
        let configured = match &simulator {
            Some(simulator) => ConfiguredApi::start_demo(&loaded, &simulator.base_url).await?,
            None => ConfiguredApi::start(&loaded).await?,
        };
        let api = Arc::clone(configured.api());
        api.metrics.watch_logging(&logging);
        let runtime = tokio::runtime::Handle::current();
        let history = self.history.then(|| AbortOnDropHandle::new(runtime.spawn(demo_history::play(Arc::clone(&api)))));
        let reloads = Reloads::new(self, configured, logging.clone(), asks_for_approvals);
        let _watching = AbortOnDropHandle::new(runtime.spawn(reloads.watch(hangups)));
        let exit = serve(&api, &server, listeners, asks_for_approvals).await?;
        drop(history);
        logging.flush();
        Ok(exit)
    }

    /// The demo's team, with a history.
    pub(super) fn demo_with_history(listen: Option<SocketAddr>) -> Self {
        let (providers, hint) = (ProvidersArg::default(), ListenHint::default());
        Self { providers, listen, demo: true, history: true, _hint: hint }
    }

    pub(super) fn load(&self) -> anyhow::Result<LoadedConfig> {
        let mut loaded = if self.demo {
            let mut demo = LoadedConfig::parse(Path::new("(demo)"), "", brigade_config::environment())?;
            let kept =
                brigade_commands::create_kept_runs().inspect_err(|error| tracing::debug!("runs are not kept: {error}"));
            demo.config.log.events = demo.config.log.events.or(kept.ok().flatten());
            demo
        } else {
            self.providers.load()?
        };
        if let Some(listen) = self.listen {
            loaded.config.server.listen = listen;
        }
        Ok(loaded)
    }

    pub(super) fn is_demo(&self) -> bool {
        self.demo
    }

    pub(super) fn path(&self) -> PathBuf {
        self.providers.path()
    }
}

/// Prints the token that answers approvals. It is not logged, so that it is in no log file; a service manager that collects
/// standard error has it.
pub(super) fn print_token(api: &Api, asks_for_approvals: bool) {
    if let Some(token) = api.approval_token().filter(|_| asks_for_approvals) {
        note!("token to answer approvals: {token}");
    }
}

/// The addresses of a server. Clients that connect before it serves wait in the queue of the system.
struct Listeners {
    main: TcpListener,
    metrics: Option<TcpListener>,
}

impl Listeners {
    async fn bind(server: &ServerConfig) -> anyhow::Result<Self> {
        let main = bind(server.listen).await?;
        let metrics = match server.metrics_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { main, metrics })
    }
}

/// Serves until a signal asks to stop.
async fn serve(
    api: &Arc<Api>,
    server: &ServerConfig,
    Listeners { main, metrics }: Listeners,
    asks_for_approvals: bool,
) -> anyhow::Result<Exit> {
    let (stop, stopped) = watch::channel(false);
    // What the store knows of earlier processes.
    let spent_before = api.ledger().spending().total();
    let address = main.local_addr()?;
    let _metrics = metrics.map(|listener| {
        let serving = brigade_edge::serve(listener, api.metrics_router(), stopped.clone());
        AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(serving))
    });
    print_token(api, asks_for_approvals);
    let names: Vec<_> = api.setup().agents.keys().cloned().collect();
    tracing::info!("listening on http://{address}; agents: {}", names.join(", "));
    if server.console {
        tracing::info!("console: http://{address}/console");
    }
    let serving = brigade_edge::serve(main, api.router(), stopped);
    let stopping = async {
        stop_signal().await;
        tracing::info!("shutting down; running requests may take {} s", server.drain.as_secs());
        // Connections are still accepted meanwhile, so that readiness checks get an answer.
        let cancelled = api.runs().drain(server.drain).await;
        if cancelled > 0 {
            tracing::warn!("cancelled {} that did not end in time", brigade_commands::count(cancelled, "run"));
        }
        // Fails only if both servers have ended.
        let _ = stop.send(true);
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    let stopping_at_once = async {
        stop_signal().await;
        stop_signal().await;
        tracing::warn!("stopped by a second signal; running requests are lost");
    };
    // Signals are received from the first poll on. A program that reads the address may send one at once.
    let (mut stopping, mut stopping_at_once) = (pin!(stopping), pin!(stopping_at_once));
    let _ = (futures::poll!(stopping.as_mut()), futures::poll!(stopping_at_once.as_mut()));
    if let Err(error) = brigade_commands::print_line(format_args!("http://{address}")) {
        tracing::warn!("{error:#}");
    }
    let exit = tokio::select! {
        () = serving => Exit::Finished,
        () = &mut stopping => Exit::Finished,
        () = &mut stopping_at_once => Exit::Forced,
    };
    let closed = if exit == Exit::Forced {
        let closing = tokio::time::timeout(CLOSE_TIMEOUT, api.close()).await;
        closing.context("the store takes too long").and_then(|closed| Ok(closed?))
    } else {
        api.close().await.map_err(Into::into)
    };
    let spent = api.ledger().spending().total() - spent_before;
    tracing::info!("stopped; {spent} spent since the start of this process");
    match closed {
        Ok(()) => Ok(exit),
        Err(error) => {
            tracing::error!("some cost is not on disk: {error:#}");
            Ok(Exit::CostLost)
        }
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; if another process uses it, choose another address with `--listen`")
    })
}

fn start_logging(log: &LogConfig) -> anyhow::Result<LoggingHandle> {
    let level = log.level.as_deref().unwrap_or("info");
    Logging::new().format(log.format).level(level).init().context("cannot set up logging")
}
