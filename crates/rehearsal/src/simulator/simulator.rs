//! The simulator and its builder.

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
use crate::injection::injector::FaultInjector;
use crate::limits::limiter::{Limiter, SimulatedRateLimits};
use crate::protocol::tokens::CountTokens;
use crate::script::answer::Latency;
use crate::script::demo;
use crate::script::script::Script;
use crate::simulator::connection::{Connection, ConnectionControl};
use crate::simulator::issued_reasoning::IssuedReasoning;
use crate::simulator::service::Service;

/// A simulated model provider. Clones share its state.
///
/// # Examples
///
/// ```
/// use brigade_rehearsal::{Script, ScriptedAnswer, Simulator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let script = Script::always(ScriptedAnswer::text("Hello."));
/// let running = Simulator::builder().script(script).build().serve_locally().await?;
/// assert!(running.base_url().starts_with("http://127.0.0.1:"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Simulator {
    service: Arc<Service>,
}

/// Builds a [`Simulator`]. By default it repeats the last user message without latency, and rejects invalid requests.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct SimulatorBuilder {
    script: Script,
    faults: FaultPlan,
    latency: Latency,
    strict: bool,
    template: bool,
    reasoning_content: bool,
    own_reasoning_only: bool,
    limits: Option<SimulatedRateLimits>,
    models: Vec<String>,
    tokenizer: Option<CountTokens>,
    records: bool,
}

impl Simulator {
    /// A builder with the default settings.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder {
            script: Script::default(),
            faults: FaultPlan::default(),
            latency: Latency::default(),
            strict: true,
            template: false,
            reasoning_content: false,
            own_reasoning_only: false,
            limits: None,
            models: demo::MODELS.map(str::to_owned).to_vec(),
            tokenizer: None,
            records: true,
        }
    }

    /// Serves HTTP/1.1 on the listener until the returned handle is dropped.
    ///
    /// # Errors
    /// If the listener has no local address.
    pub fn serve(&self, listener: TcpListener) -> io::Result<RunningSimulator> {
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(self.service.clone(), listener));
        Ok(RunningSimulator { address, call_log: self.call_log(), tasks })
    }

    /// Serves on a free port of the loopback interface.
    ///
    /// # Errors
    /// If no port is available.
    pub async fn serve_locally(&self) -> io::Result<RunningSimulator> {
        self.serve(TcpListener::bind(("127.0.0.1", 0)).await?)
    }

    /// Serves HTTP/1.1 on one connection until it ends. With `tokio::io::duplex` client and server communicate in memory,
    /// which works with tokio's paused clock.
    pub fn serve_connection<Io>(&self, io: Io) -> impl Future<Output = ()> + Send + use<Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let control = ConnectionControl::default();
        serve_http(self.service.clone(), Connection::in_memory(io, control.clone()), control)
    }

    /// The log of all calls.
    pub fn call_log(&self) -> CallLog {
        self.service.call_log.clone()
    }
}

impl SimulatorBuilder {
    /// Sets the answers.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// Sets the faults.
    #[must_use]
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.faults = plan;
        self
    }

    /// Sets how long an answer takes if its rule does not set it. Default none.
    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Sets whether requests that the vendor would reject are rejected. Default on.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets whether Chat Completions rejects what Mistral and the chat templates of vLLM and llama.cpp reject: users and
    /// assistants that do not alternate, and tool calls in the history whose arguments are not a JSON object. Default off.
    #[must_use]
    pub fn template(mut self, strict: bool) -> Self {
        self.template = strict;
        self
    }

    /// Sets whether Chat Completions sends thinking as `reasoning_content`, as `DeepSeek` and many compatible servers do.
    /// Default off, as with `OpenAI`.
    #[must_use]
    pub fn reasoning_content(mut self, shown: bool) -> Self {
        self.reasoning_content = shown;
        self
    }

    /// Sets whether reasoning of another account or model is refused, as vendors do: signatures and encrypted content that
    /// this simulator has not issued, and in Chat Completions the fields of reasoning that the server does not know. Default
    /// off, because the simulator then has to remember what it has issued.
    #[must_use]
    pub fn own_reasoning_only(mut self, strict: bool) -> Self {
        self.own_reasoning_only = strict;
        self
    }

    /// Sets the rate limits. Default none.
    #[must_use]
    pub fn rate_limits(mut self, limits: SimulatedRateLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the models that `GET /v1/models` lists. Requests for other models are answered, too.
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Counts the tokens of chats with this function, for example a vendor's published tokenizer. By default the simulator
    /// counts approximately.
    #[must_use]
    pub fn tokenizer(mut self, count_tokens: fn(&str) -> u64) -> Self {
        self.tokenizer = Some(count_tokens);
        self
    }

    /// Keeps only totals instead of a record per call, for benchmarks with millions of calls.
    #[must_use]
    pub fn count_only(mut self) -> Self {
        self.records = false;
        self
    }

    /// Builds the simulator. Its clock starts now.
    pub fn build(self) -> Simulator {
        let service = Service {
            script: self.script,
            faults: FaultInjector::new(self.faults),
            latency: self.latency,
            strict: self.strict,
            template: self.template,
            reasoning_content: self.reasoning_content,
            issued: self.own_reasoning_only.then(IssuedReasoning::default),
            limiter: self.limits.map(Limiter::new),
            models: self.models,
            tokenizer: self.tokenizer,
            call_log: CallLog::new(self.records),
        };
        Simulator { service: Arc::new(service) }
    }
}

/// A simulator that listens on a port. Dropping it closes the port and all connections.
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

    /// The URL for clients, without a path: `http://127.0.0.1:…`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The log of all calls.
    pub fn call_log(&self) -> &CallLog {
        &self.call_log
    }

    /// Closes the port and all connections, and waits until they are closed.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept(service: Arc<Service>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Either the peer has already disconnected, or there are no free file descriptors until other connections
                // end.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                // Small events must be sent at once.
                let _ = stream.set_nodelay(true);
                let control = ConnectionControl::default();
                let connection = Connection::tcp(stream, control.clone());
                connections.spawn(serve_http(service.clone(), connection, control));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_http<Io>(service: Arc<Service>, connection: Connection<Io>, control: ConnectionControl)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let handler = service_fn(move |request| {
        let (service, control) = (service.clone(), control.clone());
        async move { Ok::<_, Infallible>(service.respond(request, control).await) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(connection), handler).await;
    if let Err(error) = served {
        // Clients that disconnect and faults that cut the connection both end here.
        tracing::debug!(%error, "connection ended early");
    }
}
