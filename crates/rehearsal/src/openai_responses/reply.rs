//! The `response` document.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::exchange::reply::{CREATED, Part, Reply};
use crate::exchange::request::Request;
use crate::protocol::field::Field;
use crate::protocol::ids::{Ids, encrypted_content};
use crate::protocol::usage::ReportedUsage;
use crate::script::answer::ScriptedFinish;

#[derive(Serialize)]
pub(crate) struct Response<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    pub(crate) status: &'static str,
    background: bool,
    pub(crate) error: Option<ResponseError<'a>>,
    pub(crate) incomplete_details: Option<Incomplete>,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u64>,
    max_tool_calls: Option<()>,
    model: &'a str,
    pub(crate) output: Vec<Item<'a>>,
    parallel_tool_calls: bool,
    previous_response_id: Option<()>,
    prompt_cache_key: Option<()>,
    reasoning: Reasoning,
    safety_identifier: Option<()>,
    service_tier: &'static str,
    store: bool,
    temperature: f32,
    text: Text,
    tool_choice: &'static str,
    tools: Option<&'a RawValue>,
    top_logprobs: u32,
    top_p: f32,
    truncation: &'static str,
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub(crate) usage: Field<Usage>,
    user: Option<()>,
    metadata: Metadata,
}

#[derive(Serialize)]
pub(crate) struct ResponseError<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Incomplete {
    reason: &'static str,
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
    summary: Option<&'static str>,
}

#[derive(Serialize)]
struct Text {
    format: Format,
    verbosity: &'static str,
}

#[derive(Serialize)]
struct Format {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Metadata {}

/// An output item. The field order is the vendor's.
#[derive(Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Item<'a> {
    Reasoning {
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
        summary: Vec<Piece<'a>>,
    },
    Call {
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        status: &'static str,
        arguments: &'a str,
        call_id: &'a str,
        name: &'a str,
    },
    Message {
        id: String,
        #[serde(rename = "type")]
        kind: &'static str,
        status: &'static str,
        content: Vec<Piece<'a>>,
        role: &'static str,
    },
}

/// A part of an item.
#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Piece<'a> {
    OutputText { annotations: [(); 0], logprobs: [(); 0], text: &'a str },
    Refusal { refusal: &'a str },
    SummaryText { text: &'a str },
}

impl<'a> Piece<'a> {
    pub(crate) fn text(text: &'a str) -> Self {
        Self::OutputText { annotations: [], logprobs: [], text }
    }
}

/// The usage as Responses reports it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    input_tokens: i64,
    input_tokens_details: InputDetails,
    output_tokens: i64,
    output_tokens_details: OutputDetails,
    total_tokens: i64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct InputDetails {
    cached_tokens: i64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct OutputDetails {
    reasoning_tokens: i64,
}

impl From<ReportedUsage> for Usage {
    fn from(reported: ReportedUsage) -> Self {
        Self {
            input_tokens: reported.input,
            input_tokens_details: InputDetails { cached_tokens: reported.cached },
            output_tokens: reported.output,
            output_tokens_details: OutputDetails { reasoning_tokens: reported.reasoning },
            total_tokens: reported.input + reported.output,
        }
    }
}

pub(crate) fn document(reply: &Reply, request: &Request) -> Vec<u8> {
    let items = items(reply, request).collect();
    serde_json::to_vec_pretty(&finished(reply, request, items)).unwrap_or_default()
}

/// The response at the start of a stream.
pub(crate) fn opening<'a>(reply: &'a Reply, request: &'a Request) -> Response<'a> {
    Response {
        id: Ids::new(reply.seed).hex("resp_", 50),
        object: "response",
        created_at: CREATED,
        status: "in_progress",
        background: false,
        error: None,
        incomplete_details: None,
        instructions: request.echoed.instructions.as_deref(),
        max_output_tokens: request.max_tokens,
        max_tool_calls: None,
        model: &reply.model,
        output: Vec::new(),
        parallel_tool_calls: true,
        previous_response_id: None,
        prompt_cache_key: None,
        reasoning: Reasoning { effort: "medium", summary: request.thinking.then_some("detailed") },
        safety_identifier: None,
        service_tier: "default",
        store: request.echoed.store,
        temperature: 1.0,
        text: Text { format: Format { kind: "text" }, verbosity: "medium" },
        tool_choice: "auto",
        tools: request.echoed.tools.as_deref().or_else(|| serde_json::from_str("[]").ok()),
        top_logprobs: 0,
        top_p: 1.0,
        truncation: "disabled",
        usage: Field::Null,
        user: None,
        metadata: Metadata {},
    }
}

/// The response after the model has stopped.
pub(crate) fn finished<'a>(reply: &'a Reply, request: &'a Request, output: Vec<Item<'a>>) -> Response<'a> {
    let reason = match reply.finish {
        ScriptedFinish::Length => Some("max_output_tokens"),
        ScriptedFinish::ContentFilter => Some("content_filter"),
        ScriptedFinish::Stop | ScriptedFinish::ToolCalls | ScriptedFinish::Refusal => None,
    };
    Response {
        status: if reason.is_some() { "incomplete" } else { "completed" },
        incomplete_details: reason.map(|reason| Incomplete { reason }),
        output,
        usage: reply.usage_placement.field(reply.reported.into()),
        ..opening(reply, request)
    }
}

/// The complete items, one for each part of the reply.
pub(crate) fn items<'a>(reply: &'a Reply, request: &'a Request) -> impl Iterator<Item = Item<'a>> {
    let mut ids = Ids::new(reply.seed ^ 1);
    let is_cut = matches!(reply.finish, ScriptedFinish::Length | ScriptedFinish::ContentFilter);
    let last = reply.parts.len().saturating_sub(1);
    reply.parts.iter().enumerate().map(move |(index, part)| {
        let status = if is_cut && index == last { "incomplete" } else { "completed" };
        let message =
            |id, piece| Item::Message { id, kind: "message", status, content: vec![piece], role: "assistant" };
        match part {
            Part::Text(text) => message(ids.hex("msg_", 50), Piece::text(text)),
            Part::Refusal(refusal) => message(ids.hex("msg_", 50), Piece::Refusal { refusal }),
            Part::Thinking(text) => {
                let id = ids.hex("rs_", 50);
                let encrypted = request.encrypted_reasoning.then(|| encrypted_content(&id));
                let summary = Piece::SummaryText { text };
                Item::Reasoning {
                    id,
                    kind: "reasoning",
                    encrypted_content: encrypted,
                    summary: if request.thinking { vec![summary] } else { Vec::new() },
                }
            }
            Part::Call(call) => Item::Call {
                id: ids.hex("fc_", 50),
                kind: "function_call",
                status,
                arguments: &call.arguments,
                call_id: &call.id,
                name: &call.name,
            },
        }
    })
}
