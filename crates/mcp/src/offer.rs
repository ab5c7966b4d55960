//! Offers tools to MCP clients.

use std::{borrow::Cow, convert::Infallible, fmt, sync::Arc};

use async_trait::async_trait;
use brigade_core::{Agent, Event, Observer, Run};
use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use rmcp::{
    RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, async_rw::AsyncRwTransport,
        streamable_http_server::session::never::NeverSessionManager,
    },
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// Tools that other programs may call over MCP.
#[async_trait]
pub trait OfferedTools: fmt::Debug + Send + Sync + 'static {
    /// The tools, in the order in which clients see them.
    fn tools(&self) -> Vec<OfferedTool>;

    /// Makes a call. The future is dropped when the client is gone. Over standard input and output it is also dropped when the
    /// client cancels the call. Over HTTP there is no session to which such a notification could belong, so only a closed
    /// connection cancels a call.
    ///
    /// # Errors
    ///
    /// The model of the client reads the message.
    async fn call(&self, call: OfferedCall) -> Result<OfferedResult, String>;
}

/// A tool that other programs may call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OfferedTool {
    /// The name.
    pub name: String,
    /// What the tool does, for the model of the client.
    pub description: String,
    /// The JSON Schema of the arguments, an object.
    pub input_schema: Map<String, Value>,
    /// The JSON Schema of the structured result, if there is one.
    pub output_schema: Option<Map<String, Value>>,
}

/// A call of an offered tool.
#[derive(Debug)]
#[non_exhaustive]
pub struct OfferedCall {
    /// The name of the tool.
    pub name: String,
    /// The arguments. They were not checked.
    pub arguments: Map<String, Value>,
    /// What the layers before added to the HTTP request. Empty for other transports.
    pub extensions: Extensions,
    /// Reports progress to the client.
    pub progress: Progress,
}

/// The result of a call of an offered tool.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OfferedResult {
    /// The result as text.
    pub text: String,
    /// The result in the form of [`OfferedTool::output_schema`].
    pub structured: Option<Value>,
}

/// Reports progress to a client. Without a client that asked for it, nothing is sent.
#[derive(Debug, Clone)]
pub struct Progress(Option<mpsc::Sender<String>>);

/// A client that reads slower loses messages about progress.
const QUEUED_MESSAGES: usize = 16;

/// Answers MCP requests over streamable HTTP. Cheap to clone.
///
/// It has no sessions, so each request carries its own credentials and any replica can answer it. For the same reason
/// `notifications/cancelled` has no effect: a client cancels a call by closing its connection. A caller has to check keys and
/// the header `Host` before.
#[derive(Clone)]
pub struct McpEndpoint(StreamableHttpService<Handler, NeverSessionManager>);

/// What an [`McpEndpoint`] answers with.
pub type McpResponse = Response<BoxBody<Bytes, Infallible>>;

#[derive(Debug, Clone)]
struct Handler(Arc<dyn OfferedTools>);

impl OfferedTool {
    /// A tool without a structured result.
    pub fn new(name: impl Into<String>, description: impl Into<String>, input_schema: Map<String, Value>) -> Self {
        Self { name: name.into(), description: description.into(), input_schema, output_schema: None }
    }

    /// An agent as a tool: the task and perhaps the id of a session in, the answer out. An agent whose answers have a schema of
    /// an object has a structured result.
    pub fn agent(agent: &Agent, purpose: &str) -> Self {
        let purpose = if purpose.is_empty() { "Answers a task." } else { purpose };
        let text = |what: &str| json!({ "type": "string", "description": what });
        let properties = json!({
            "task": text("What the agent should do. It knows nothing else of this conversation."),
            "session_id": text("Continues an earlier conversation with the agent."),
        });
        let input = [
            ("type", json!("object")),
            ("properties", properties),
            ("required", json!(["task"])),
            ("additionalProperties", json!(false)),
        ];
        let input = input.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let output = agent.model_settings().output.as_ref();
        let output = output.and_then(|output| serde_json::from_str::<Map<String, Value>>(output.schema.get()).ok());
        let output = output.filter(|schema| schema.get("type") == Some(&json!("object")));
        Self::new(&**agent.name(), purpose, input).output_schema(output)
    }

    /// Sets the JSON Schema of the structured result. It must be the schema of an object.
    #[must_use]
    pub fn output_schema(self, schema: Option<Map<String, Value>>) -> Self {
        Self { output_schema: schema, ..self }
    }
}

impl OfferedResult {
    /// The answer of an agent, which has checked it if it has a schema.
    pub fn answer(agent: &Agent, text: impl Into<String>) -> Self {
        let text = text.into();
        let has_schema = OfferedTool::agent(agent, "").output_schema.is_some();
        let structured = has_schema.then(|| serde_json::from_str(&text).ok()).flatten();
        Self { text, structured }
    }

    /// A result of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), structured: None }
    }

    /// Sets the structured result.
    #[must_use]
    pub fn structured(self, value: Option<Value>) -> Self {
        Self { structured: value, ..self }
    }
}

impl Progress {
    /// Sends a message, unless many wait already.
    pub fn report(&self, message: impl Into<String>) {
        if let Some(sender) = &self.0 {
            // Full if the client reads slowly. The next message says more.
            let _ = sender.try_send(message.into());
        }
    }

    /// Whether the client asked for progress.
    pub fn is_wanted(&self) -> bool {
        self.0.is_some()
    }
}

/// Reports the tools that an agent and its workers call.
impl Observer for Progress {
    fn on_event(&self, run: &Run, event: &Event) {
        if let Event::ToolStarted { tool, .. } = event {
            self.report(format!("{} calls {tool}", run.agent()));
        }
    }
}

impl McpEndpoint {
    /// Offers tools. A request body has at most `max_body` bytes.
    pub fn new(tools: Arc<dyn OfferedTools>, max_body: usize) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .disable_allowed_hosts()
            .with_max_request_body_bytes(max_body);
        let handler = Handler(tools);
        let sessions = Arc::new(NeverSessionManager::default());
        Self(StreamableHttpService::new(move || Ok(handler.clone()), sessions, config))
    }

    /// Answers a request.
    pub async fn handle<B>(&self, request: Request<B>) -> McpResponse
    where
        B: Body + Send + 'static,
        B::Error: fmt::Display,
    {
        self.0.handle(request).await
    }
}

impl fmt::Debug for McpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpEndpoint").finish_non_exhaustive()
    }
}

/// Offers tools to one client over a pair of pipes, such as standard input and output, until the client closes them.
///
/// # Errors
///
/// The client does not speak the protocol.
pub async fn serve_pipes(
    tools: Arc<dyn OfferedTools>,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), String> {
    let transport = AsyncRwTransport::new_server(input, output);
    let running = Handler(tools).serve(transport).await.map_err(|error| error.to_string())?;
    running.waiting().await.map(drop).map_err(|error| error.to_string())
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("brigade", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools().into_iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let RequestContext { ct, meta, mut extensions, peer, .. } = context;
        let name = request.name.into_owned();
        if !self.0.tools().iter().any(|tool| tool.name == name) {
            return Err(ErrorData::invalid_params(format!("there is no tool {name:?}"), None));
        }
        let extensions = extensions.remove::<http::request::Parts>().map(|parts| parts.extensions).unwrap_or_default();
        let token = meta.get_progress_token();
        let (sender, mut messages) = mpsc::channel(QUEUED_MESSAGES);
        let progress = Progress(token.is_some().then_some(sender));
        let arguments = request.arguments.unwrap_or_default();
        let work = self.0.call(OfferedCall { name, arguments, extensions, progress });
        let reports = async {
            let mut count = 0.0;
            while let (Some(message), Some(token)) = (messages.recv().await, &token) {
                count += 1.0;
                let params = ProgressNotificationParam::new(token.clone(), count).with_message(message);
                // A client that is gone cancels the call.
                let _ = peer.notify_progress(params).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = work => Ok(answer(result).into()),
            () = reports => Err(ErrorData::internal_error("progress has ended", None)),
            () = ct.cancelled() => Err(ErrorData::internal_error("the client cancelled the call", None)),
        }
    }
}

fn tool(tool: OfferedTool) -> Tool {
    let OfferedTool { name, description, input_schema, output_schema } = tool;
    let input: Arc<JsonObject> = Arc::new(input_schema);
    let mut offered = Tool::new(Cow::Owned(name), Cow::Owned(description), input);
    offered.output_schema = output_schema.map(Arc::new);
    offered
}

fn answer(result: Result<OfferedResult, String>) -> CallToolResult {
    match result {
        Ok(OfferedResult { text, structured }) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
            result.structured_content = structured;
            result
        }
        Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]),
    }
}
