//! Parses Messages requests.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::history;
use crate::exchange::content::Content;
use crate::exchange::request::{Request, contains};
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;

#[derive(Debug, Deserialize)]
pub(crate) struct Body<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    pub(crate) max_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) system: Content,
    #[serde(default)]
    pub(crate) messages: Option<Vec<Message>>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) thinking: Option<Thinking>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: Content,
}

#[derive(Debug, Deserialize)]
struct Tool {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Thinking {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) budget_tokens: Option<u64>,
}

impl Body<'_> {
    pub(crate) fn history(&self) -> &[Message] {
        self.messages.as_deref().unwrap_or_default()
    }
}

pub(crate) fn read(bytes: &[u8], strict: bool) -> Result<Request, Failure> {
    let body: Body = serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid(format!("The request body is not valid JSON: {error}")))?;
    if strict {
        history::check(&body)?;
    }
    let mut request = Request::new(WireDialect::Anthropic, bytes);
    request.system = body.system.text();
    request.stream = body.stream.unwrap_or(false);
    request.max_tokens = body.max_tokens;
    request.thinking =
        body.thinking.as_ref().is_some_and(|thinking| matches!(thinking.kind.as_str(), "enabled" | "adaptive"));
    for message in body.history() {
        read_message(&mut request, message);
    }
    request.tools = body.tools.into_iter().flatten().map(|tool| tool.name).collect();
    request.may_call = !request.tools.is_empty() && !contains(body.tool_choice, "\"none\"");
    request.model = body.model.ok_or_else(|| Failure::invalid("model: Field required"))?;
    Ok(request)
}

fn read_message(request: &mut Request, message: &Message) {
    if message.role == "assistant" {
        request.turn += 1;
        let mut blocks = message.content.blocks().iter();
        let id = blocks.find(|block| block.kind == "tool_use").and_then(|block| block.id.clone());
        request.earlier_call_id = request.earlier_call_id.take().or(id);
        return;
    }
    let results: Vec<String> = message
        .content
        .blocks()
        .iter()
        .filter(|block| block.kind == "tool_result")
        .map(|block| block.content.text())
        .collect();
    // A message with only tool results is not a user message.
    let text = message.content.text();
    if !text.is_empty() {
        request.last_user = text;
    }
    request.tool_results = results.join("\n");
}
