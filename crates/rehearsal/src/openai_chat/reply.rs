//! The `chat.completion` document.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::exchange::reply::{CREATED, Call, Part, Reply, Style};
use crate::fault::kinds::ToolDeltas;
use crate::protocol::field::Field;
use crate::protocol::ids::Ids;
use crate::protocol::usage::ReportedUsage;
use crate::script::answer::ScriptedFinish;

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Field::is_absent")]
    usage: Field<Usage>,
    service_tier: &'static str,
    system_fingerprint: Option<&'static str>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    refusal: Option<String>,
    annotations: [(); 0],
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: Arguments<'a>,
}

/// The arguments: a string, or from some compatible servers an object.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Arguments<'a> {
    Text(&'a str),
    Object(&'a RawValue),
}

/// The usage as Chat Completions reports it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: i64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: i64,
    audio_tokens: i64,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the vendor's")]
struct CompletionDetails {
    reasoning_tokens: i64,
    audio_tokens: i64,
    accepted_prediction_tokens: i64,
    rejected_prediction_tokens: i64,
}

impl From<ReportedUsage> for Usage {
    fn from(reported: ReportedUsage) -> Self {
        Self {
            prompt_tokens: reported.input,
            completion_tokens: reported.output,
            total_tokens: reported.input + reported.output,
            prompt_tokens_details: PromptDetails { cached_tokens: reported.cached, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: reported.reasoning,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

pub(crate) fn document(reply: &Reply, style: Style) -> Vec<u8> {
    let joined = |pick: fn(&Part) -> Option<&str>| {
        let texts: Vec<&str> = reply.parts.iter().filter_map(pick).collect();
        (!texts.is_empty()).then(|| texts.concat())
    };
    let refusal = joined(|part| match part {
        Part::Refusal(text) => Some(text),
        _ => None,
    });
    let content = joined(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    let thinking = joined(|part| match part {
        Part::Thinking(text) => Some(text),
        _ => None,
    });
    let completion = Completion {
        id: completion_id(reply),
        object: "chat.completion",
        created: CREATED,
        model: &reply.model,
        choices: [Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content,
                reasoning_content: thinking.filter(|_| style.reasoning_content),
                tool_calls: reply.calls().map(|call| tool_call(call, style)).collect(),
                refusal,
                annotations: [],
            },
            finish_reason: finish_reason(reply.finish),
        }],
        usage: reply.usage_placement.field(reply.reported.into()),
        service_tier: "default",
        system_fingerprint: None,
    };
    serde_json::to_vec_pretty(&completion).unwrap_or_default()
}

pub(crate) fn completion_id(reply: &Reply) -> String {
    Ids::new(reply.seed).letters("chatcmpl-", 29)
}

pub(crate) fn finish_reason(stop: ScriptedFinish) -> &'static str {
    match stop {
        // A refusal is reported in the `refusal` field only.
        ScriptedFinish::Stop | ScriptedFinish::Refusal => "stop",
        ScriptedFinish::ToolCalls => "tool_calls",
        ScriptedFinish::Length => "length",
        ScriptedFinish::ContentFilter => "content_filter",
    }
}

/// The arguments in the form that the style requires.
pub(crate) fn arguments(text: &str, style: Style) -> Arguments<'_> {
    let object =
        matches!(style.deltas, Some(ToolDeltas::ArgumentsObject)).then(|| serde_json::from_str(text).ok()).flatten();
    object.map_or(Arguments::Text(text), Arguments::Object)
}

fn tool_call(call: &Call, style: Style) -> ToolCall<'_> {
    let nameless = matches!(style.deltas, Some(ToolDeltas::EmptyName));
    ToolCall {
        id: &call.id,
        kind: "function",
        function: Function {
            name: if nameless { "" } else { &call.name },
            arguments: arguments(&call.arguments, style),
        },
    }
}
