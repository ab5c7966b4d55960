//! One server, with the connection that all runs share.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use brigade_core::{Degradation, Run, ToolError, ToolOutput};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Drift, McpError, McpLimits,
    content::output,
    definition::ToolDefinition,
    endpoint::Endpoint,
    patterns::NamePatterns,
    session::{CallError, ListError, NOT_KNOWN, Owned, Session},
};

/// One server, with the connection that all runs share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: McpLimits,
    /// The tools that are offered.
    pub(crate) names: NamePatterns,
    pub(crate) repeatable: NamePatterns,
    /// Whether a server that has ended is started again.
    pub(crate) restart: bool,
    /// The definitions that a person has read.
    pub(crate) pinned: Mutex<Option<Arc<[ToolDefinition]>>>,
    pub(crate) state: tokio::sync::Mutex<State>,
}

/// The connection of a server.
#[derive(Debug, Default)]
pub(crate) struct State {
    session: Option<Arc<Session>>,
    /// Stops the server when it is not used.
    idle: Option<AbortOnDropHandle<()>>,
    /// The last comparison of the session's tools with the pinned ones. Calls are made only while it is current.
    compared: Option<Comparison>,
    /// How often the server failed since its last good call.
    failures: u32,
    last_failure: Option<Failure>,
    /// Whether the server ignored `server/discover`.
    is_old: bool,
}

/// A comparison of a session's tools with the pinned ones.
#[derive(Debug)]
struct Comparison {
    pinned: Arc<[ToolDefinition]>,
    /// The changes that the server had reported before it listed its tools.
    changes: u64,
    drift: Option<Drift>,
}

#[derive(Debug, Clone)]
struct Failure {
    at: Instant,
    why: String,
}

/// One tool call.
#[derive(Debug)]
pub(crate) struct Call<'c> {
    /// The name of the tool at the server.
    pub(crate) tool: &'c str,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) is_repeatable: bool,
}

/// A server that failed once is started again at once. After further failures it has a pause, which doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

impl Server {
    /// Makes a call. A connection that is gone is opened again once.
    pub(crate) async fn call(self: &Arc<Self>, call: Call<'_>, run: &Run) -> Result<ToolOutput, ToolError> {
        let mut is_second = false;
        loop {
            let session = self.session().await.map_err(|error| self.degraded(&error, run))?;
            match session.call(call.tool, call.arguments.clone(), &self.limits).await {
                Ok(result) => {
                    // While the state is in use, the server starts, and its failures count.
                    if let Ok(mut state) = self.state.try_lock() {
                        state.failures = 0;
                    }
                    return output(result, self.limits.output_bytes);
                }
                Err(gone @ (CallError::Closed | CallError::Expired)) => {
                    let error = self.lose(&session).await;
                    let may_repeat = call.is_repeatable || matches!(gone, CallError::Expired);
                    if is_second || !may_repeat || session.is_closing() {
                        self.degraded(&error, run);
                        return Err(ToolError::new(format!("{error}. {NOT_KNOWN}")).caused_by(error));
                    }
                    is_second = true;
                }
                Err(error) => return Err(self.refused(&error)),
            }
        }
    }

    /// The tools that the server offers now. They are not compared with the pinned ones.
    pub(crate) async fn list(self: &Arc<Self>) -> Result<Vec<ToolDefinition>, McpError> {
        let mut state = self.state.lock().await;
        let deadline = Instant::now() + self.limits.start;
        let session = self.open(&mut state, deadline).await?;
        // The caller may see other tools than the ones that were compared.
        state.compared = None;
        self.list_with(&session, deadline).await
    }

    /// Closes the connection, also for calls in flight.
    pub(crate) async fn close(&self) {
        let session = self.state.lock().await.session.take();
        if let Some(session) = session {
            session.close().await;
        }
    }

    /// The connection, whose tools are the pinned ones.
    async fn session(self: &Arc<Self>) -> Result<Arc<Session>, McpError> {
        let mut state = self.state.lock().await;
        let deadline = Instant::now() + self.limits.start;
        let session = self.open(&mut state, deadline).await?;
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pinned = pinned.ok_or_else(|| McpError::NotPinned { server: self.name.clone() })?;
        // Before the request: a change that is reported during it counts.
        let changes = session.changes();
        let is_current = |last: &Comparison| last.changes == changes && Arc::ptr_eq(&last.pinned, &pinned);
        if !state.compared.as_ref().is_some_and(is_current) {
            // This call may be dropped at each await. The next call then finds no comparison.
            state.compared = None;
            let found = self.list_with(&session, deadline).await.inspect_err(|error| state.fail(error))?;
            let drift = Drift::between(&pinned, &found);
            if let Some(drift) = &drift {
                tracing::error!(mcp = %self.name, "the server's tools are not the pinned ones any more:\n{drift}");
            }
            state.compared = Some(Comparison { pinned, changes, drift });
        }
        match state.compared.as_ref().and_then(|last| last.drift.clone()) {
            Some(drift) => Err(McpError::Drift { server: self.name.clone(), drift }),
            None => Ok(session),
        }
    }

    /// The connection, opened if there is none.
    async fn open(self: &Arc<Self>, state: &mut State, deadline: Instant) -> Result<Arc<Session>, McpError> {
        if let Some(session) = state.session.clone() {
            if session.is_open() {
                return Ok(session);
            }
            state.fail(&self.gone(&session).await);
        }
        if let Some(error) = state.refusal(&self.name, self.restart) {
            return Err(error);
        }
        let opened = tokio::time::timeout_at(deadline, self.connect(state.is_old)).await;
        let opened = opened.unwrap_or_else(|_| {
            // A server may ignore a request that it does not know.
            state.is_old = true;
            Err(McpError::StartTimeout { server: self.name.clone(), limit: self.limits.start })
        });
        let session = opened.map(Arc::new).inspect_err(|error| {
            tracing::warn!(mcp = %self.name, "{error}");
            state.fail(error);
        })?;
        tracing::debug!(mcp = %self.name, protocol = %session.protocol(), "the server is ready");
        (state.session, state.compared) = (Some(Arc::clone(&session)), None);
        let watch = watch_idle(Arc::downgrade(self), Arc::downgrade(&session), self.limits.idle);
        state.idle = Some(AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(watch)));
        Ok(session)
    }

    async fn connect(&self, is_old: bool) -> Result<Session, McpError> {
        let mut owned = Owned::default();
        let service = self.endpoint.connect(&self.name, &self.limits, is_old, &mut owned).await?;
        Ok(Session::new(service, owned))
    }

    /// Gives up a connection, unless another call did so already.
    async fn lose(&self, session: &Arc<Session>) -> McpError {
        let error = self.gone(session).await;
        let mut state = self.state.lock().await;
        if state.session.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            state.fail(&error);
        }
        error
    }

    async fn gone(&self, session: &Session) -> McpError {
        let why = session.how_it_ended().await.unwrap_or_else(|| "the connection was closed".to_owned());
        tracing::warn!(mcp = %self.name, "the server is gone: {why}");
        McpError::Start { server: self.name.clone(), why }
    }

    async fn list_with(&self, session: &Session, deadline: Instant) -> Result<Vec<ToolDefinition>, McpError> {
        let (server, limit) = (self.name.clone(), self.limits.start);
        let listing = session.list(&self.names, self.limits.tools);
        match tokio::time::timeout_at(deadline, listing).await {
            Ok(Ok(tools)) => Ok(tools),
            Ok(Err(ListError::TooMany)) => Err(McpError::TooManyTools { server, limit: self.limits.tools }),
            Ok(Err(ListError::Failed(why))) => Err(McpError::Start { server, why }),
            Err(_) => Err(McpError::StartTimeout { server, limit }),
        }
    }

    /// The error of a call whose server cannot be used. The run is degraded, once for each server.
    fn degraded(&self, error: &McpError, run: &Run) -> ToolError {
        let part = format!("mcp:{}", self.name);
        if !run.degraded().iter().any(|known| known.part == part) {
            run.degrade(Degradation::new(part, error.to_string()));
        }
        ToolError::new(format!("{error}. Its tools are not available; go on without them.")).caused_by(error.clone())
    }

    /// The error of a call that the server did not make, or whose time was up.
    fn refused(&self, error: &CallError) -> ToolError {
        let server = &self.name;
        let (message, cause) = match error {
            CallError::Closed | CallError::Expired => {
                (format!("the MCP server `{server}` closed the connection"), None)
            }
            CallError::Failed(why) => {
                let cause = format!("the MCP server `{server}` failed in a call");
                (format!("{cause}: {why}"), Some(cause))
            }
            CallError::Timeout(name, limit) => {
                (format!("the MCP server `{server}` did not answer within {limit:?} (its {name})"), None)
            }
            CallError::Refused(why) => {
                let cause = format!("the MCP server `{server}` refused the call");
                (format!("{cause}: {why}"), Some(cause))
            }
            CallError::Unsupported(what) => (format!("the MCP server `{server}` {what}, which is not supported"), None),
        };
        ToolError::new(message.clone()).caused_by(cause.unwrap_or(message))
    }
}

impl State {
    fn fail(&mut self, error: &McpError) {
        self.session = None;
        self.idle = None;
        self.compared = None;
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(Failure { at: Instant::now(), why: error.to_string() });
    }

    /// Why the server is not started now.
    fn refusal(&self, server: &str, restart: bool) -> Option<McpError> {
        let Failure { at, why } = self.last_failure.clone().filter(|_| self.failures > 0)?;
        let server = server.to_owned();
        if !restart {
            return Some(McpError::Ended { server, why });
        }
        let doublings = self.failures.checked_sub(2)?;
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
        let wait = pause.saturating_sub(at.elapsed());
        (!wait.is_zero()).then_some(McpError::BackOff { server, failures: self.failures, wait, why })
    }
}

/// Stops a server that is not used.
async fn watch_idle(server: Weak<Server>, session: Weak<Session>, idle: Duration) {
    loop {
        let Some(spent) = session.upgrade().map(|session| session.idle_time().unwrap_or_default()) else { return };
        tokio::time::sleep(idle.saturating_sub(spent)).await;
        let Some(server) = server.upgrade() else { return };
        let mut state = server.state.lock().await;
        let is_idle = |session: &Arc<Session>| session.idle_time().is_some_and(|time| time >= idle);
        if !state.session.as_ref().is_some_and(is_idle) {
            continue;
        }
        // No call can begin meanwhile: it would need the state.
        if let Some(session) = state.session.take() {
            tracing::debug!(mcp = %server.name, "stopping the server, which was not used for {idle:?}");
            session.close().await;
        }
        return;
    }
}
