//! Parses Chat Completions requests.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::content::Content;
use crate::exchange::request::{Request, contains};
use crate::openai_chat::history;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;

#[derive(Debug, Deserialize)]
pub(crate) struct Body<'a> {
    #[serde(default)]
    model: Option<String>,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Tool {
    #[serde(default)]
    function: OfferedFunction,
}

#[derive(Debug, Default, Deserialize)]
struct OfferedFunction {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: Content,
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    pub(crate) tool_call_id: Option<String>,
    pub(crate) refusal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) function: Function,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arguments: Option<Box<RawValue>>,
}

impl Message {
    pub(crate) fn calls(&self) -> &[ToolCall] {
        self.tool_calls.as_deref().unwrap_or_default()
    }
}

pub(crate) fn read(bytes: &[u8], strict: bool) -> Result<Request, Failure> {
    let body: Body = serde_json::from_slice(bytes).map_err(|_| {
        Failure::invalid("We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)")
    })?;
    if strict {
        history::check(&body)?;
    }
    let mut request = Request::new(WireDialect::OpenaiChat, bytes);
    request.model = body.model.ok_or_else(|| Failure::invalid("you must provide a model parameter"))?;
    request.stream = body.stream.unwrap_or(false);
    request.include_usage = body.stream_options.is_some_and(|options| options.include_usage);
    request.max_tokens = body.max_completion_tokens.or(body.max_tokens);
    request.tools = body.tools.into_iter().flatten().map(|tool| tool.function.name).collect();
    request.may_call = !request.tools.is_empty() && !contains(body.tool_choice, "\"none\"");
    for message in &body.messages {
        read_message(&mut request, message);
    }
    Ok(request)
}

fn read_message(request: &mut Request, message: &Message) {
    match message.role.as_str() {
        "system" | "developer" => {
            request.system.push_str(&message.content.text());
            request.system.push('\n');
        }
        "user" => {
            request.last_user = message.content.text();
            request.tool_results.clear();
        }
        "assistant" => {
            request.turn += 1;
            request.tool_results.clear();
            let id = message.calls().first().map(|call| call.id.clone());
            request.earlier_call_id = request.earlier_call_id.take().or(id);
        }
        "tool" => {
            if !request.tool_results.is_empty() {
                request.tool_results.push('\n');
            }
            request.tool_results.push_str(&message.content.text());
        }
        _ => {}
    }
}
