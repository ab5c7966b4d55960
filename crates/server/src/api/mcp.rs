//! `/mcp`: agents as tools of MCP clients. A call is a run of `POST /v1/runs`, with the same keys, budgets and limits.

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use brigade_config::LOCAL_CALLER;
use brigade_core::{Observer, RunId, TraceId};
use brigade_edge::read_body;
use brigade_mcp::{McpEndpoint, OfferedCall, OfferedResult, OfferedTool, OfferedTools};

use super::{
    ApiError,
    access::Caller,
    api::Api,
    models::{self, exposed},
    openai,
    request_ids::RequestIds,
    runs::RunBody,
    scoped::Runner,
};
use crate::runs::run_handle::{CancelOnDrop, RunEnd};

/// The agents that clients may call.
#[derive(Debug)]
struct AgentTools {
    api: Arc<Api>,
    /// Whether calls that no request carries are made for the local caller.
    is_local: bool,
}

/// Answers requests of MCP clients.
pub(super) fn endpoint(api: &Arc<Api>) -> McpEndpoint {
    McpEndpoint::new(Arc::new(AgentTools { api: Arc::clone(api), is_local: false }), api.max_body)
}

/// The agents for one client on this machine, which starts the program.
#[cfg(feature = "cli")]
pub(crate) fn local(api: &Arc<Api>) -> Arc<dyn OfferedTools> {
    Arc::new(AgentTools { api: Arc::clone(api), is_local: true })
}

/// Answers a request. Its caller needs the scope that starts runs.
pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    Extension(endpoint): Extension<McpEndpoint>,
    Runner(_): Runner,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    // Within the limits of time and size that all bodies have.
    let body = read_body(body, api.max_body).await?;
    Ok(endpoint.handle(Request::from_parts(parts, Body::from(body))).await.map(Body::new))
}

#[async_trait]
impl OfferedTools for AgentTools {
    fn tools(&self) -> Vec<OfferedTool> {
        let setup = self.api.setup();
        exposed(&setup).map(|(_, agent)| OfferedTool::agent(&agent.agent, &agent.purpose)).collect()
    }

    async fn call(&self, call: OfferedCall) -> Result<OfferedResult, String> {
        self.run(call).await.map_err(|error| error.message)
    }
}

impl AgentTools {
    async fn run(&self, call: OfferedCall) -> Result<OfferedResult, ApiError> {
        let OfferedCall { name, arguments, extensions, progress, .. } = call;
        let caller = match extensions.get::<Caller>() {
            Some(caller) => caller.clone(),
            None => self.local_caller()?,
        };
        let ids = extensions.get::<RequestIds>().copied();
        let ids = ids.unwrap_or_else(|| RequestIds { run: RunId::new(), trace: TraceId::random(), parent: None });
        let setup = self.api.setup();
        let agent = models::find(&setup, &name)?;
        let body = RunBody::of_tool(name, arguments)?;
        let observer = progress.is_wanted().then(|| Arc::new(progress) as Arc<dyn Observer>);
        let run = body.start(&self.api, &caller, ids, observer).await?;
        let _guard = CancelOnDrop::new(Arc::clone(&run));
        let end = run.wait().await;
        if let RunEnd::Suspended(_) = *end {
            let advice = "an approval is answered in the console or with `brigade approvals`; the run then goes on";
            return Ok(OfferedResult::text(format!("The run {} waits: {advice}.", run.id())));
        }
        let outcome = openai::outcome(&run, &end)?;
        Ok(OfferedResult::answer(&agent.agent, outcome.text.clone()))
    }

    fn local_caller(&self) -> Result<Caller, ApiError> {
        let setup = self.api.setup();
        let local = setup.access.named(LOCAL_CALLER).filter(|_| self.is_local).cloned();
        local.ok_or_else(|| ApiError::internal("the request has no caller"))
    }
}
