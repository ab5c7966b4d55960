//! The innermost layer: what the model says.

use crate::exchange::reply::{Call, Part, Reply, call_id};
use crate::exchange::request::Request;
use crate::fault::kinds::ReplyFault;
use crate::protocol::ids::Ids;
use crate::script::script::FinishReason;

const HUGE_BYTES: usize = 5 << 20;
const DEEP: usize = 10_000;

pub(crate) fn apply(reply: &mut Reply, say: ReplyFault, request: &Request) {
    match say {
        ReplyFault::Empty => only(reply, Part::Text(String::new()), FinishReason::Stop),
        ReplyFault::Whitespace => only(reply, Part::Text(" \n ".to_owned()), FinishReason::Stop),
        ReplyFault::ReasoningOnly => only(reply, Part::Thinking("Let me see.".to_owned()), FinishReason::Stop),
        ReplyFault::Refusal => {
            let words = "I'm sorry, but I can't assist with that request.".to_owned();
            only(reply, Part::Refusal(words), FinishReason::Refusal);
        }
        ReplyFault::Nothing => (reply.parts, reply.stop) = (Vec::new(), FinishReason::Stop),
        ReplyFault::OutOfTokens => {
            (reply.parts, reply.stop) = (Vec::new(), FinishReason::Length);
            exhaust(reply, request);
        }
        ReplyFault::ContentFilter => {
            reply.stop = FinishReason::ContentFilter;
            for part in &mut reply.parts {
                if let Part::Text(text) = part {
                    halve(text);
                }
            }
        }
        ReplyFault::CutArguments | ReplyFault::CutArgumentsMislabelled => {
            each_call(reply, request, |call| halve(&mut call.arguments));
            if say == ReplyFault::CutArguments {
                reply.stop = FinishReason::Length;
            }
            exhaust(reply, request);
        }
        ReplyFault::TwinIds | ReplyFault::IdenticalTwins | ReplyFault::ReusedId => repeat_ids(reply, say, request),
        ReplyFault::UnknownTool => each_call(reply, request, |call| {
            call.name = format!("no_such_tool_{}", request.turn);
        }),
        ReplyFault::EmptyArguments
        | ReplyFault::NullArguments
        | ReplyFault::NanArguments
        | ReplyFault::DuplicateKeys
        | ReplyFault::HugeArguments
        | ReplyFault::DeepArguments => {
            each_call(reply, request, |call| call.arguments = odd_arguments(say));
        }
    }
}

fn only(reply: &mut Reply, part: Part, stop: FinishReason) {
    (reply.parts, reply.stop) = (vec![part], stop);
}

/// Bills the whole token limit.
fn exhaust(reply: &mut Reply, request: &Request) {
    reply.usage.output = request.max_tokens.unwrap_or(1024);
    reply.usage.reasoning = reply.usage.reasoning.min(reply.usage.output);
    if reply.parts.is_empty() {
        reply.usage.reasoning = reply.usage.output;
    }
    reply.told = reply.usage.into();
}

fn halve(text: &mut String) {
    let letters = text.chars().count();
    *text = text.chars().take(letters / 2).collect();
}

fn odd_arguments(say: ReplyFault) -> String {
    match say {
        ReplyFault::NullArguments => "null".to_owned(),
        ReplyFault::NanArguments => r#"{"value":NaN}"#.to_owned(),
        ReplyFault::DuplicateKeys => r#"{"value":1,"value":2}"#.to_owned(),
        ReplyFault::HugeArguments => format!(r#"{{"value":"{}"}}"#, "x".repeat(HUGE_BYTES)),
        ReplyFault::DeepArguments => format!("{}{}", r#"{"value":"#.repeat(DEEP), "}".repeat(DEEP)),
        _ => String::new(),
    }
}

fn each_call(reply: &mut Reply, request: &Request, change: impl Fn(&mut Call)) {
    ensure_call(reply, request);
    reply.calls_mut().for_each(change);
}

fn ensure_call(reply: &mut Reply, request: &Request) {
    if reply.calls().next().is_some() {
        return;
    }
    let mut ids = Ids::new(reply.seed ^ 2);
    reply.parts.push(Part::Call(Call {
        id: call_id(request.dialect, &mut ids),
        name: request.tools.first().cloned().unwrap_or_else(|| "lookup".to_owned()),
        arguments: r#"{"query":"the price of a ticket to Paris"}"#.to_owned(),
    }));
    reply.stop = FinishReason::ToolCalls;
}

fn repeat_ids(reply: &mut Reply, say: ReplyFault, request: &Request) {
    ensure_call(reply, request);
    if say == ReplyFault::ReusedId {
        if let (Some(call), Some(id)) = (reply.calls_mut().next(), &request.earlier_call_id) {
            call.id.clone_from(id);
        }
        return;
    }
    let Some(first) = reply.calls().next().cloned() else {
        return;
    };
    let mut twin = reply.calls().nth(1).cloned().unwrap_or_else(|| Call {
        arguments: r#"{"query":"the price of a ticket to Rome"}"#.to_owned(),
        ..first.clone()
    });
    twin.id.clone_from(&first.id);
    if say == ReplyFault::IdenticalTwins {
        twin.clone_from(&first);
    }
    reply.parts.retain(|part| !matches!(part, Part::Call(_)));
    reply.parts.extend([Part::Call(first), Part::Call(twin)]);
}
