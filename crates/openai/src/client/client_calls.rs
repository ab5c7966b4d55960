//! The calls of a client's tools.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use brigade_core::{Agent, Message, Outcome, Part, Role, Run, Tool, ToolCall, ToolError, ToolOutput, ToolSpec};
use parking_lot::Mutex;
use serde_json::Value;
use uuid::Uuid;

use super::shown_text::ShownText;
use crate::FunctionCall;

/// The tools that a client runs itself, and the calls of them. A run that calls one ends when the other tools of the turn have
/// ended. The client sends the results with its next request, which is another run.
#[derive(Debug)]
pub struct ClientCalls {
    specs: Vec<ToolSpec>,
    calls: Mutex<Vec<FunctionCall>>,
    /// What the agent says before it calls them.
    shown: Arc<ShownText>,
}

/// A tool that the client runs.
#[derive(Debug)]
struct ClientTool {
    spec: ToolSpec,
    client: Arc<ClientCalls>,
}

/// What a result says until the client has sent one, after the id of the call.
const PENDING: &str = ": the client runs this tool, and sends the result";

impl ClientCalls {
    /// These tools, and the text of their run.
    pub fn new(specs: Vec<ToolSpec>, shown: Arc<ShownText>) -> Arc<Self> {
        Arc::new(Self { specs, calls: Mutex::default(), shown })
    }

    /// The agent with these tools.
    pub fn add_to(self: &Arc<Self>, agent: Agent) -> Agent {
        let tool = |spec: &ToolSpec| ClientTool { spec: spec.clone(), client: Arc::clone(self) };
        self.specs.iter().map(tool).fold(agent, Agent::tool)
    }

    /// The calls by which the run has ended; empty if it ended otherwise.
    pub fn of(&self, outcome: &Outcome) -> Vec<FunctionCall> {
        let is_ours = |name: &Arc<str>| self.specs.iter().any(|spec| spec.name == *name);
        if outcome.ended_by.as_ref().is_some_and(is_ours) { self.calls.lock().clone() } else { Vec::new() }
    }

    /// What the agent said before the calls.
    pub fn text_before(&self) -> Option<String> {
        self.shown.messages().pop().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The messages of the run, in which the calls have the ids that the client knows, and no results yet.
    pub fn without_results(&self, messages: &[Message]) -> Vec<Message> {
        let results = messages.iter().flat_map(Message::tool_results);
        let pending = results.filter_map(|result| Some((result.call_id.as_str(), self.pending(&result.text())?)));
        let pending: HashMap<&str, String> = pending.collect();
        let part = |part: &Part| match part {
            Part::ToolCall(call) => Some(Part::ToolCall(match pending.get(call.id.as_str()) {
                Some(id) => ToolCall::new(id, &*call.name, call.arguments.clone()),
                None => call.clone(),
            })),
            Part::ToolResult(result) => (!pending.contains_key(result.call_id.as_str())).then(|| part.clone()),
            Part::Text(_) | Part::Thinking(_) | Part::Image(_) | Part::Opaque(_) => Some(part.clone()),
        };
        let message = |message: &Message| {
            let parts: Vec<_> = message.parts().iter().filter_map(part).collect();
            (message.role() != Role::Tool || !parts.is_empty()).then(|| Message::new(message.role(), parts))
        };
        messages.iter().filter_map(message).collect()
    }

    /// The id of the call, if this is the text of a result that the client has not sent yet.
    fn pending(&self, text: &str) -> Option<String> {
        let id = text.strip_suffix(PENDING)?;
        self.calls.lock().iter().any(|call| call.id == id).then(|| id.to_owned())
    }
}

#[async_trait]
impl Tool for ClientTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, input: Value, _run: &Run) -> Result<ToolOutput, ToolError> {
        let id = format!("call_{}", Uuid::new_v4().simple());
        self.client.calls.lock().push(FunctionCall::new(&*id, &*self.spec.name, input.to_string()));
        Ok(ToolOutput::text(format!("{id}{PENDING}")).ending_run())
    }
}
