//! Parses Responses requests.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::content::Content;
use crate::exchange::request::{EchoedFields, Request, contains};
use crate::openai_responses::history;
use crate::protocol::dialect::WireDialect;
use crate::protocol::failure::Failure;

#[derive(Debug, Deserialize)]
pub(crate) struct Body<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    include: Option<Vec<String>>,
    #[serde(default)]
    reasoning: Option<Reasoning>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
    #[serde(default)]
    store: Option<bool>,
    #[serde(default)]
    previous_response_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reasoning {
    #[serde(default)]
    summary: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    #[serde(default)]
    name: String,
}

/// One item of the input, with the fields of all kinds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Item {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) role: String,
    pub(crate) content: Content,
    pub(crate) call_id: Option<String>,
    pub(crate) output: Content,
    pub(crate) encrypted_content: Option<String>,
}

impl Item {
    /// The type. An item with a role and without a type is a message.
    pub(crate) fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("message")
    }

    /// Whether the model produced it.
    pub(crate) fn is_from_model(&self) -> bool {
        match self.kind() {
            "message" => self.role == "assistant",
            "reasoning" | "function_call" => true,
            _ => false,
        }
    }
}

pub(crate) fn read(bytes: &[u8], strict: bool) -> Result<Request, Failure> {
    let body: Body = serde_json::from_slice(bytes)
        .map_err(|_| Failure::invalid("We could not parse the JSON body of your request."))?;
    let stored = body.store.unwrap_or(true);
    if let Some(id) = body.previous_response_id.filter(|_| strict) {
        // The simulator is stateless, so it has no earlier responses.
        return Err(Failure::invalid(format!("Previous response with id '{id}' not found."))
            .param("previous_response_id")
            .code("previous_response_not_found"));
    }
    let items = items(body.input)?;
    if strict {
        history::check(&items, stored)?;
    }
    let mut request = Request::new(WireDialect::OpenaiResponses, bytes);
    request.model = body.model.ok_or_else(|| {
        Failure::invalid("Missing required parameter: 'model'.").param("model").code("missing_required_parameter")
    })?;
    request.stream = body.stream.unwrap_or(false);
    request.max_tokens = body.max_output_tokens;
    request.thinking = body.reasoning.is_some_and(|reasoning| reasoning.summary.is_some());
    request.encrypted_reasoning =
        body.include.is_some_and(|list| list.iter().any(|name| name == "reasoning.encrypted_content"));
    let tools: Vec<Tool> = body.tools.and_then(|tools| serde_json::from_str(tools.get()).ok()).unwrap_or_default();
    request.tools = tools.into_iter().map(|tool| tool.name).collect();
    request.may_call = !request.tools.is_empty() && !contains(body.tool_choice, "\"none\"");
    request.system = body.instructions.clone().unwrap_or_default();
    request.echoed =
        EchoedFields { instructions: body.instructions, tools: body.tools.map(RawValue::to_owned), store: stored };
    read_items(&mut request, &items);
    Ok(request)
}

/// The items of the input. A text is one user message.
fn items(input: Option<&RawValue>) -> Result<Vec<Item>, Failure> {
    let Some(input) = input else {
        return Err(Failure::invalid(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.",
        )
        .param("input")
        .code("missing_required_parameter"));
    };
    if let Ok(text) = serde_json::from_str::<String>(input.get()) {
        return Ok(vec![Item { role: "user".to_owned(), content: Content::Text(text), ..Item::default() }]);
    }
    serde_json::from_str(input.get()).map_err(|_| {
        Failure::invalid("Invalid type for 'input': expected one of a string or an array of objects.")
            .param("input")
            .code("invalid_type")
    })
}

fn read_items(request: &mut Request, items: &[Item]) {
    let mut in_turn = false;
    for item in items {
        if item.is_from_model() && !in_turn {
            request.turn += 1;
            request.tool_results.clear();
        }
        in_turn = item.is_from_model();
        match (item.kind(), item.role.as_str()) {
            ("message", "system" | "developer") => {
                request.system.push('\n');
                request.system.push_str(&item.content.text());
            }
            ("message", "user") => {
                request.last_user = item.content.text();
                request.tool_results.clear();
            }
            ("function_call", _) => {
                request.earlier_call_id = request.earlier_call_id.take().or_else(|| item.call_id.clone());
            }
            ("function_call_output", _) => {
                if !request.tool_results.is_empty() {
                    request.tool_results.push('\n');
                }
                request.tool_results.push_str(&item.output.text());
            }
            _ => {}
        }
    }
}
