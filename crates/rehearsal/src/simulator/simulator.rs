//! The simulator, how it is built, and how it is served.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::call_log::call_log::CallLog;
use crate::fault::plan::FaultPlan;
use crate::injection::injector::Armed;
use crate::limits::limits::{Limiter, SimulatedRateLimits};
use crate::script::demo;
use crate::script::script::{Latency, Script};
use crate::simulator::connection::{Connection, Lever};
use crate::simulator::service::Provider;

/// A provider that is not there. Clones are the same provider.
#[derive(Debug, Clone)]
pub struct Simulator {
    provider: Arc<Provider>,
}

/// Puts a simulator together. Without further words it echoes, at once, and is strict.
#[derive(Debug)]
pub struct SimulatorBuilder {
    script: Script,
    faults: FaultPlan,
    latency: Latency,
    strict: bool,
    reasoning_content: bool,
    limits: Option<SimulatedRateLimits>,
    models: Vec<String>,
    records: bool,
}

impl Simulator {
    /// A simulator with other than the default settings.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder {
            script: Script::default(),
            faults: FaultPlan::default(),
            latency: Latency::default(),
            strict: true,
            reasoning_content: false,
            limits: None,
            models: demo::MODELS.map(str::to_owned).to_vec(),
            records: true,
        }
    }

    /// Serves HTTP/1.1 on the listener until the returned handle is dropped.
    ///
    /// # Errors
    /// If the listener does not know its address.
    pub fn serve(&self, listener: TcpListener) -> io::Result<RunningSimulator> {
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(self.provider.clone(), listener));
        Ok(RunningSimulator { address, call_log: self.call_log(), tasks })
    }

    /// Serves on a free port of the loopback interface.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn serve_locally(&self) -> io::Result<RunningSimulator> {
        self.serve(TcpListener::bind(("127.0.0.1", 0)).await?)
    }

    /// Serves HTTP/1.1 on one connection until it ends. With `tokio::io::duplex` client and server
    /// meet in memory, where a paused clock runs.
    pub fn serve_connection<Io>(&self, io: Io) -> impl Future<Output = ()> + Send + use<Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lever = Lever::default();
        converse(self.provider.clone(), Connection::plain(io, lever.clone()), lever)
    }

    /// The simulator's record of what happened.
    pub fn call_log(&self) -> CallLog {
        self.provider.call_log.clone()
    }
}

impl SimulatorBuilder {
    /// What is answered.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.faults = plan;
        self
    }

    /// How long an answer takes if its rule does not say.
    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Whether requests are refused that the vendor would refuse. On by default.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether Chat Completions shows thinking as `reasoning_content`, as `DeepSeek` and many
    /// compatible servers do. Off by default, as `OpenAI` does not.
    #[must_use]
    pub fn reasoning_content(mut self, shown: bool) -> Self {
        self.reasoning_content = shown;
        self
    }

    /// The rate limits to enforce. None by default.
    #[must_use]
    pub fn rate_limits(mut self, limits: SimulatedRateLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The models that `GET /v1/models` lists. Any model is answered.
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps sums and no records of single calls, for benchmarks that make millions.
    #[must_use]
    pub fn count_only(mut self) -> Self {
        self.records = false;
        self
    }

    /// The simulator. Its clock starts now.
    pub fn build(self) -> Simulator {
        let provider = Provider {
            script: self.script,
            faults: Armed::new(self.faults),
            latency: self.latency,
            strict: self.strict,
            reasoning_content: self.reasoning_content,
            limiter: self.limits.map(Limiter::new),
            models: self.models,
            call_log: CallLog::new(self.records),
        };
        Simulator { provider: Arc::new(provider) }
    }
}

/// A simulator that listens. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct RunningSimulator {
    address: SocketAddr,
    call_log: CallLog,
    tasks: JoinSet<()>,
}

impl RunningSimulator {
    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to give to clients, without a path: `http://127.0.0.1:…`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The simulator's record of what happened.
    pub fn call_log(&self) -> &CallLog {
        &self.call_log
    }

    /// Closes the port and every connection, and returns when that is done.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept(provider: Arc<Provider>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Either the peer is gone already, or file descriptors are short, which passes when
                // connections end.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                // Small events must not wait for each other.
                let _ = stream.set_nodelay(true);
                let lever = Lever::default();
                let connection = Connection::tcp(stream, lever.clone());
                connections.spawn(converse(provider.clone(), connection, lever));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse<Io>(provider: Arc<Provider>, connection: Connection<Io>, lever: Lever)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let (provider, lever) = (provider.clone(), lever.clone());
        async move { Ok::<_, Infallible>(provider.respond(request, lever).await) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
    if let Err(error) = served {
        // A client that hangs up and a fault that cuts the line both end here.
        tracing::debug!(%error, "connection ended early");
    }
}
