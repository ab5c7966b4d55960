//! The innermost layer: what the model says.

use crate::exchange::reply::{Call, Part, Reply, call_id};
use crate::exchange::request::Request;
use crate::fault::kinds::Say;
use crate::protocol::ids::Ids;
use crate::script::script::Stop;

const HUGE_BYTES: usize = 5 << 20;
const DEEP: usize = 10_000;

pub(crate) fn apply(reply: &mut Reply, say: Say, request: &Request) {
    match say {
        Say::Empty => only(reply, Part::Text(String::new()), Stop::Stop),
        Say::Whitespace => only(reply, Part::Text(" \n ".to_owned()), Stop::Stop),
        Say::ReasoningOnly => only(reply, Part::Thinking("Let me see.".to_owned()), Stop::Stop),
        Say::Refusal => {
            let words = "I'm sorry, but I can't assist with that request.".to_owned();
            only(reply, Part::Refusal(words), Stop::Refusal);
        }
        Say::Nothing => (reply.parts, reply.stop) = (Vec::new(), Stop::Stop),
        Say::OutOfTokens => {
            (reply.parts, reply.stop) = (Vec::new(), Stop::Length);
            exhaust(reply, request);
        }
        Say::ContentFilter => {
            reply.stop = Stop::ContentFilter;
            for part in &mut reply.parts {
                if let Part::Text(text) = part {
                    halve(text);
                }
            }
        }
        Say::CutArguments | Say::CutArgumentsMislabelled => {
            each_call(reply, request, |call| halve(&mut call.arguments));
            if say == Say::CutArguments {
                reply.stop = Stop::Length;
            }
            exhaust(reply, request);
        }
        Say::TwinIds | Say::IdenticalTwins | Say::ReusedId => repeat_ids(reply, say, request),
        Say::UnknownTool => each_call(reply, request, |call| {
            call.name = format!("no_such_tool_{}", request.turn);
        }),
        Say::EmptyArguments
        | Say::NullArguments
        | Say::NanArguments
        | Say::DuplicateKeys
        | Say::HugeArguments
        | Say::DeepArguments => {
            each_call(reply, request, |call| call.arguments = odd_arguments(say));
        }
    }
}

fn only(reply: &mut Reply, part: Part, stop: Stop) {
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

fn odd_arguments(say: Say) -> String {
    match say {
        Say::NullArguments => "null".to_owned(),
        Say::NanArguments => r#"{"value":NaN}"#.to_owned(),
        Say::DuplicateKeys => r#"{"value":1,"value":2}"#.to_owned(),
        Say::HugeArguments => format!(r#"{{"value":"{}"}}"#, "x".repeat(HUGE_BYTES)),
        Say::DeepArguments => format!("{}{}", r#"{"value":"#.repeat(DEEP), "}".repeat(DEEP)),
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
    reply.stop = Stop::ToolCalls;
}

fn repeat_ids(reply: &mut Reply, say: Say, request: &Request) {
    ensure_call(reply, request);
    if say == Say::ReusedId {
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
    if say == Say::IdenticalTwins {
        twin.clone_from(&first);
    }
    reply.parts.retain(|part| !matches!(part, Part::Call(_)));
    reply.parts.extend([Part::Call(first), Part::Call(twin)]);
}
