//! Faults in the reply of the model.

use crate::exchange::reply::{Call, Part, Reply, call_id};
use crate::exchange::request::Request;
use crate::fault::kinds::ReplyFault;
use crate::protocol::ids::Ids;
use crate::script::answer::ScriptedFinish;

const REASONING: &str = "The user wants an answer.";
const HUGE_BYTES: usize = 5 << 20;
const NESTING_DEPTH: usize = 10_000;

/// Changes the reply as the fault says.
pub(crate) fn apply(reply: &mut Reply, fault: ReplyFault, request: &Request) {
    match fault {
        ReplyFault::Empty => replace_parts(reply, Part::Text(String::new()), ScriptedFinish::Stop),
        ReplyFault::Whitespace => replace_parts(reply, Part::Text(" \n ".to_owned()), ScriptedFinish::Stop),
        ReplyFault::ReasoningOnly => {
            replace_parts(reply, Part::Thinking("Let me see.".to_owned()), ScriptedFinish::Stop);
        }
        ReplyFault::Refusal => {
            let refusal = "I'm sorry, but I can't assist with that request.".to_owned();
            replace_parts(reply, Part::Refusal(refusal), ScriptedFinish::Refusal);
        }
        ReplyFault::Nothing => (reply.parts, reply.finish) = (Vec::new(), ScriptedFinish::Stop),
        ReplyFault::OutOfTokens => {
            (reply.parts, reply.finish) = (Vec::new(), ScriptedFinish::Length);
            use_all_tokens(reply, request);
        }
        ReplyFault::ContentFilter => {
            reply.finish = ScriptedFinish::ContentFilter;
            for part in &mut reply.parts {
                if let Part::Text(text) = part {
                    halve(text);
                }
            }
        }
        ReplyFault::ThinkTags => each_text(reply, |text| format!("<think>\n{REASONING}\n</think>\n\n{text}")),
        ReplyFault::UnopenedThinkTags => each_text(reply, |text| format!("{REASONING}\n</think>\n\n{text}")),
        ReplyFault::FencedText => each_text(reply, |text| format!("Here it is:\n```json\n{text}\n```\nGood luck!")),
        ReplyFault::CutArguments | ReplyFault::CutArgumentsMislabelled => {
            each_call(reply, request, |call| halve(&mut call.arguments));
            if fault == ReplyFault::CutArguments {
                reply.finish = ScriptedFinish::Length;
            }
            use_all_tokens(reply, request);
        }
        ReplyFault::TwinIds | ReplyFault::IdenticalTwins | ReplyFault::ReusedId => repeat_ids(reply, fault, request),
        ReplyFault::UnknownTool => each_call(reply, request, |call| {
            call.name = format!("no_such_tool_{}", request.turn);
        }),
        ReplyFault::EmptyArguments => set_arguments(reply, request, ""),
        ReplyFault::NullArguments => set_arguments(reply, request, "null"),
        ReplyFault::NanArguments => set_arguments(reply, request, r#"{"value":NaN}"#),
        ReplyFault::DuplicateKeys => set_arguments(reply, request, r#"{"value":1,"value":2}"#),
        ReplyFault::HugeArguments => {
            set_arguments(reply, request, &format!(r#"{{"value":"{}"}}"#, "x".repeat(HUGE_BYTES)));
        }
        ReplyFault::DeepArguments => {
            let nested = format!("{}{}", r#"{"value":"#.repeat(NESTING_DEPTH), "}".repeat(NESTING_DEPTH));
            set_arguments(reply, request, &nested);
        }
    }
}

fn each_text(reply: &mut Reply, change: impl Fn(&str) -> String) {
    for part in &mut reply.parts {
        if let Part::Text(text) = part {
            *text = change(text);
        }
    }
}

fn replace_parts(reply: &mut Reply, part: Part, finish: ScriptedFinish) {
    (reply.parts, reply.finish) = (vec![part], finish);
}

/// Bills the whole token limit.
fn use_all_tokens(reply: &mut Reply, request: &Request) {
    reply.usage.output = request.max_tokens.unwrap_or(1024);
    reply.usage.reasoning = reply.usage.reasoning.min(reply.usage.output);
    if reply.parts.is_empty() {
        reply.usage.reasoning = reply.usage.output;
    }
    reply.reported = reply.usage.into();
}

fn halve(text: &mut String) {
    let characters = text.chars().count();
    *text = text.chars().take(characters / 2).collect();
}

fn set_arguments(reply: &mut Reply, request: &Request, arguments: &str) {
    each_call(reply, request, |call| arguments.clone_into(&mut call.arguments));
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
    reply.finish = ScriptedFinish::ToolCalls;
}

fn repeat_ids(reply: &mut Reply, fault: ReplyFault, request: &Request) {
    ensure_call(reply, request);
    if fault == ReplyFault::ReusedId {
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
    if fault == ReplyFault::IdenticalTwins {
        twin.clone_from(&first);
    }
    reply.parts.retain(|part| !matches!(part, Part::Call(_)));
    reply.parts.extend([Part::Call(first), Part::Call(twin)]);
}
