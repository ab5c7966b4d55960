//! One live connection to a server.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use rmcp::{
    ClientHandler, ClientLifecycleMode, Peer, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotificationParam, ClientCapabilities,
        ClientConfig, ClientRequest, Implementation, PaginatedRequestParams, ProtocolVersion, RequestId,
        ServerNotification, ServerResult, SubscriptionFilter,
    },
    service::{NotificationContext, PeerRequestOptions, RequestHandle, RunningService, ServiceError},
    transport::{DynamicTransportError, streamable_http_client::StreamableHttpError},
};
use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    task::{JoinSet, unconstrained},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    McpLimits,
    definition::{ToolDefinition, ToolHints},
    patterns::NamePatterns,
    visible::one_line,
};

/// One live connection to a server. Dropping it closes the connection and kills a server that was started for it.
#[derive(Debug)]
pub(crate) struct Session {
    peer: Peer<RoleClient>,
    /// Absent once the connection was closed by this side.
    service: tokio::sync::Mutex<Option<RunningService<RoleClient, Client>>>,
    /// Cancelled when this side closes the connection.
    closing: CancellationToken,
    /// How often the server may have changed its tools.
    changes: Arc<AtomicU64>,
    calls: AtomicUsize,
    last_call: LastCall,
    /// The process of the server, its log, and notifications. Dropped last.
    owned: Owned,
}

/// What belongs to a connection: tasks that end with it, and the signal that lets its process end by itself.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    pub(crate) tasks: JoinSet<()>,
    pub(crate) stop: CancellationToken,
    /// How the process of the server ended.
    pub(crate) ended: Option<watch::Receiver<Option<String>>>,
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection is gone. The server may have made the call.
    Closed,
    /// The server does not know the session any more, and has not made the call.
    Expired,
    /// The server failed, but only for this call.
    Failed(String),
    /// The call took longer than a limit, which has this name.
    Timeout(&'static str, Duration),
    /// The server refused the call.
    Refused(String),
    /// The server asks for something that this client does not support.
    Unsupported(&'static str),
}

/// Why the tools of a server are not known.
#[derive(Debug)]
pub(crate) enum ListError {
    TooMany,
    Failed(String),
}

/// The part of a connection that receives what a server sends by itself.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    changes: Arc<AtomicU64>,
}

/// How long a server may take to read that it is to stop.
const CLOSE: Duration = Duration::from_secs(1);

/// What a model must know before it repeats a call.
pub(crate) const NOT_KNOWN: &str = "It is not known whether the call was made.";

/// The longest text of a server in a message.
const REASON_BYTES: usize = 1_000;

/// The time of the last call.
#[derive(Debug)]
struct LastCall(Mutex<Instant>);

impl LastCall {
    fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Owned {
    /// How the process of the server ended, if it has one and it ends now.
    pub(crate) async fn how_it_ended(&self) -> Option<String> {
        let mut ended = self.ended.clone()?;
        let how = tokio::time::timeout(CLOSE, ended.wait_for(Option::is_some)).await.ok()?.ok()?;
        how.clone()
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { changes: Arc::default() }
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let client = Implementation::new("brigade", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), client)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// How a connection is opened: with `server/discover`, and with `initialize` if the server does not know it.
pub(crate) fn lifecycle(is_old: bool) -> ClientLifecycleMode {
    if is_old {
        return ClientLifecycleMode::Initialize;
    }
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    }
}

impl Session {
    pub(crate) fn new(service: RunningService<RoleClient, Client>, mut owned: Owned) -> Self {
        let changes = Arc::clone(&service.service().changes);
        let is_modern = service.peer_info().is_some_and(|info| !info.protocol_version.has_initialize());
        if is_modern {
            owned.tasks.spawn(listen(service.peer().clone(), Arc::clone(&changes)));
        }
        let (calls, last_call) = (AtomicUsize::new(0), LastCall::now());
        let (peer, service) = (service.peer().clone(), tokio::sync::Mutex::new(Some(service)));
        Self { peer, service, closing: CancellationToken::new(), changes, calls, last_call, owned }
    }

    /// The version of the protocol that both sides use.
    pub(crate) fn protocol(&self) -> String {
        self.peer.peer_info().map(|info| info.protocol_version.to_string()).unwrap_or_default()
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.peer.is_transport_closed()
    }

    /// Whether this side has closed the connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// How often the server may have changed its tools. They must be compared again when this has grown.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The time since the last call; absent while there is one.
    pub(crate) fn idle_time(&self) -> Option<Duration> {
        (self.calls.load(Ordering::Acquire) == 0).then(|| self.last_call.elapsed())
    }

    /// How the process of the server ended, if it has one and it has ended.
    pub(crate) async fn how_it_ended(&self) -> Option<String> {
        self.owned.how_it_ended().await
    }

    /// The tools whose names match, sorted by name.
    pub(crate) async fn list(&self, names: &NamePatterns, limit: usize) -> Result<Vec<ToolDefinition>, ListError> {
        let (mut tools, mut cursor, mut count) = (Vec::new(), None, 0);
        for _ in 0..=limit {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let page = self.peer.list_tools(Some(params)).await;
            let page = page.map_err(|error| ListError::Failed(one_line(&error.to_string(), REASON_BYTES)))?;
            count += page.tools.len();
            if count > limit {
                return Err(ListError::TooMany);
            }
            tools.extend(page.tools.into_iter().filter(|tool| names.matches(&tool.name)).map(definition));
            cursor = page.next_cursor;
            if cursor.is_none() {
                tools.sort_by(|one, other| one.name.cmp(&other.name));
                return Ok(tools);
            }
        }
        Err(ListError::TooMany)
    }

    /// Calls a tool. If the future is dropped, the server is notified that nothing waits for the result.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        limits: &McpLimits,
    ) -> Result<CallToolResult, CallError> {
        let _counted = Counted::new(self);
        let longest = limits.longest_call.max(limits.call);
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let options =
            PeerRequestOptions::with_timeout(limits.call).reset_timeout_on_progress().with_max_total_timeout(longest);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        // A server that reads nothing blocks the sender.
        let sent = tokio::time::timeout(limits.call, self.peer.send_request_with_option(request, options)).await;
        let sent = sent.map_err(|_| CallError::Timeout("call limit", limits.call))?;
        let handle = sent.map_err(|error| self.failed(error, limits))?;
        let abandoned = Abandoned { peer: &self.peer, id: Some(handle.id.clone()) };
        let result = respond(handle, longest).await;
        abandoned.disarm();
        match result.map_err(|error| self.failed(error, limits))? {
            ServerResult::CallToolResult(result) => Ok(result),
            ServerResult::EmptyResult(_) => Ok(CallToolResult::success(Vec::new())),
            ServerResult::InputRequiredResult(_) => Err(CallError::Unsupported("asks for further input")),
            ServerResult::CreateTaskResult(_) => Err(CallError::Unsupported("made the call a task of its own")),
            _ => Err(CallError::Unsupported("sent a result of an unknown form")),
        }
    }

    fn failed(&self, error: ServiceError, limits: &McpLimits) -> CallError {
        match error {
            ServiceError::McpError(error) => CallError::Refused(one_line(&error.message, REASON_BYTES)),
            ServiceError::Timeout { timeout } => {
                // A server that does not answer must show that it still does, before the next call.
                self.changes.fetch_add(1, Ordering::AcqRel);
                let name = if timeout == limits.call { "call limit without progress" } else { "longest call" };
                CallError::Timeout(name, timeout)
            }
            ServiceError::Cancelled { .. } => CallError::Refused("the server cancelled the call".to_owned()),
            ServiceError::UnexpectedResponse => CallError::Unsupported("sent a result of an unknown form"),
            ServiceError::TransportSend(error) => unsent(&error),
            // A connection that is gone.
            _ => CallError::Closed,
        }
    }

    /// Closes the connection, also for calls in flight. A server that was started has a short time to end by itself.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        if let Some(service) = self.service.lock().await.take() {
            let _ = tokio::time::timeout(CLOSE, service.cancel()).await;
        }
        self.owned.stop.cancel();
        self.how_it_ended().await;
    }
}

/// The error of a call whose request could not be sent, or was answered with a status of HTTP.
fn unsent(error: &DynamicTransportError) -> CallError {
    let Some(error) = error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() else {
        return CallError::Closed;
    };
    let is_refused = match error {
        StreamableHttpError::SessionExpired => return CallError::Expired,
        StreamableHttpError::Client(error) if !error.is_timeout() && (error.is_connect() || error.is_request()) => {
            return CallError::Closed;
        }
        StreamableHttpError::TransportChannelClosed
        | StreamableHttpError::Io(_)
        | StreamableHttpError::TokioJoinError(_) => return CallError::Closed,
        StreamableHttpError::HttpStatus(error) => error.status == 429,
        StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_) => true,
        _ => false,
    };
    let why = one_line(&error.to_string(), REASON_BYTES);
    CallError::Failed(if is_refused { why } else { format!("{why}. {NOT_KNOWN}") })
}

/// The response to a call. The limits of the request are kept by the protocol; a server that does not even read that its time
/// is up is left alone.
async fn respond(handle: RequestHandle<RoleClient>, longest: Duration) -> Result<ServerResult, ServiceError> {
    match tokio::time::timeout(longest + CLOSE, handle.await_response()).await {
        Ok(response) => response,
        Err(_) => Err(ServiceError::Timeout { timeout: longest }),
    }
}

/// Receives the changes of a server that reports them to subscribers only.
async fn listen(peer: Peer<RoleClient>, changes: Arc<AtomicU64>) {
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let Ok(mut subscription) = peer.listen(filter).await else { return };
    while let Ok(Some(notification)) = subscription.next().await {
        if matches!(notification, ServerNotification::ToolListChangedNotification(_)) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn definition(tool: rmcp::model::Tool) -> ToolDefinition {
    let hints = tool.annotations.map(|hints| ToolHints {
        read_only: hints.read_only_hint,
        destructive: hints.destructive_hint,
        idempotent: hints.idempotent_hint,
    });
    let description = tool.description.unwrap_or_default();
    let schema = Value::Object((*tool.input_schema).clone());
    ToolDefinition { hints: hints.unwrap_or_default(), ..ToolDefinition::new(tool.name, description, schema) }
}

/// Counts a call while it lasts.
struct Counted<'s>(&'s Session);

impl<'s> Counted<'s> {
    fn new(session: &'s Session) -> Self {
        session.calls.fetch_add(1, Ordering::AcqRel);
        Self(session)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.last_call.set();
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Notifies the server when nothing waits for the result of a call any more.
struct Abandoned<'p> {
    peer: &'p Peer<RoleClient>,
    id: Option<RequestId>,
}

impl Abandoned<'_> {
    fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let params =
                CancelledNotificationParam::new(Some(id), Some("the run does not wait for it any more".to_owned()));
            // The first poll queues the notification. The connection sends it.
            let _ = unconstrained(self.peer.notify_cancelled(params)).now_or_never();
        }
    }
}
