//! The `message` document.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::exchange::reply::{Part, Reply};
use crate::protocol::field::Field;
use crate::protocol::ids::{Ids, signature};
use crate::protocol::usage::ReportedUsage;
use crate::script::answer::ScriptedFinish;

#[derive(Serialize)]
pub(crate) struct Message<'a> {
    model: &'a str,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    content: Vec<Block<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<()>,
    stop_details: Option<()>,
    #[serde(skip_serializing_if = "Field::is_absent")]
    usage: Field<Usage>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block<'a> {
    Thinking { thinking: &'a str, signature: String },
    Text { text: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: Input<'a>, caller: Caller },
}

/// The arguments of a tool call. Arguments that are not valid JSON are sent as a string.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Input<'a> {
    Object(&'a RawValue),
    Text(&'a str),
}

#[derive(Serialize)]
pub(crate) struct Caller {
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Caller {
    pub(crate) const DIRECT: Self = Self { kind: "direct" };
}

/// The usage as Messages reports it: the input excludes cached tokens.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    input_tokens: i64,
    cache_creation_input_tokens: i64,
    cache_read_input_tokens: i64,
    cache_creation: CacheCreation,
    output_tokens: i64,
    service_tier: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: i64,
    ephemeral_1h_input_tokens: i64,
}

impl Usage {
    /// The usage with this many output tokens so far.
    pub(crate) fn so_far(reported: ReportedUsage, output_tokens: i64) -> Self {
        Self {
            input_tokens: reported.input - reported.cached - reported.cache_write,
            cache_creation_input_tokens: reported.cache_write,
            cache_read_input_tokens: reported.cached,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: reported.cache_write,
                ephemeral_1h_input_tokens: 0,
            },
            output_tokens,
            service_tier: "standard",
        }
    }
}

/// The message without content, as `message_start` shows it.
pub(crate) fn opening(reply: &Reply) -> Message<'_> {
    Message {
        model: &reply.model,
        id: Ids::new(reply.seed).letters("msg_01", 22),
        kind: "message",
        role: "assistant",
        content: Vec::new(),
        stop_reason: None,
        stop_sequence: None,
        stop_details: None,
        // The vendor counts the first token when the stream starts.
        usage: reply.usage_placement.field(Usage::so_far(reply.reported, reply.reported.output.min(1))),
    }
}

/// The complete message: the body of an answer that is not streamed.
pub(crate) fn document(reply: &Reply) -> Vec<u8> {
    let message = Message {
        content: reply.parts.iter().filter_map(block).collect(),
        stop_reason: Some(stop_reason(reply.finish)),
        usage: reply.usage_placement.field(Usage::so_far(reply.reported, reply.reported.output)),
        ..opening(reply)
    };
    serde_json::to_vec(&message).unwrap_or_default()
}

pub(crate) fn stop_reason(finish: ScriptedFinish) -> &'static str {
    match finish {
        ScriptedFinish::Stop => "end_turn",
        ScriptedFinish::ToolCalls => "tool_use",
        ScriptedFinish::Length => "max_tokens",
        ScriptedFinish::ContentFilter | ScriptedFinish::Refusal => "refusal",
    }
}

fn block(part: &Part) -> Option<Block<'_>> {
    Some(match part {
        Part::Thinking(thinking) => Block::Thinking { thinking, signature: signature(thinking) },
        Part::Text(text) => Block::Text { text },
        // Messages has no field for the text of a refusal, only a stop reason.
        Part::Refusal(_) => return None,
        Part::Call(call) => Block::ToolUse {
            id: &call.id,
            name: &call.name,
            input: serde_json::from_str(call.arguments_object()).map_or(Input::Text(&call.arguments), Input::Object),
            caller: Caller::DIRECT,
        },
    })
}
