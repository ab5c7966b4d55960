//! What the model says when it says something strange: R20 to R27.

use std::sync::Arc;

use brigade_core::{Event, OutputSchema, RawJson, Settings, StopReason};
use brigade_rehearsal::WireDialect;

use super::connection::is;
use crate::{
    scenario::{ANSWER, Bill, Ends, Scenario, Team},
    tools::Behaviour,
};

const OPENAI: &[WireDialect] = &[WireDialect::OpenaiChat, WireDialect::OpenaiResponses];
const CHAT: &[WireDialect] = &[WireDialect::OpenaiChat];

pub(super) fn all() -> Vec<Scenario> {
    let families = [nothing(), out_of_room(), cut(), wrong(), misshapen(), invented(), twins(), refusals()];
    families.into_iter().flatten().collect()
}

fn nothing() -> Vec<Scenario> {
    let once = |id, title, say: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\ndo = {{ say = \"{say}\" }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| is(rejected(seen), 1, "re-asks"))
    };
    vec![
        once("R20/empty", "an answer of no words", "empty"),
        once("R20/nothing", "an answer without content", "nothing"),
        once("R20/blanks", "an answer of blanks", "whitespace"),
        once("R20/thoughts", "an answer of nothing but thoughts", "reasoning_only"),
        Scenario::new("R20/always", "nothing is ever said")
            .fault("do = { say = \"empty\" }")
            .ends(Ends::Stops(StopReason::Empty), 2..=2),
    ]
}

fn out_of_room() -> Vec<Scenario> {
    let narrow: Team = |stage| {
        let settings = Settings { max_output_tokens: Some(500), ..Settings::default() };
        Ok(Arc::new(stage.asker()?.settings(settings)))
    };
    vec![
        Scenario::new("R21", "all spent on thinking, once")
            .team(narrow)
            .fault("match = { call = 1 }\ndo = { say = \"out_of_tokens\" }")
            .ends(Ends::Says(ANSWER), 2..=2),
        Scenario::new("R21/always", "all spent on thinking, each time")
            .team(narrow)
            .fault("do = { say = \"out_of_tokens\" }")
            .ends(Ends::Stops(StopReason::Truncated), 2..=2)
            .judged(Bill::Exact, |seen| {
                let outputs: Vec<u64> = seen.calls.iter().map(|call| call.usage.output).collect();
                if outputs == [500, 1_000] { Ok(()) } else { Err(format!("the room was {outputs:?}")) }
            }),
    ]
}

fn cut() -> Vec<Scenario> {
    let cut = |id, title, say: &str| {
        Scenario::new(id, title)
            .with_tool()
            .fault(format!("do = {{ say = \"{say}\" }}"))
            .ends(Ends::Stops(StopReason::ToolArgumentsTruncated), 3..=3)
            .judged(Bill::Exact, |seen| {
                is(seen.tool_runs.len(), 0, "tool runs")?;
                all_ended(seen, "truncated_arguments", 3)
            })
    };
    let once = |id, title, say: &str| {
        cut(id, title, say)
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| is(seen.tool_runs.len(), 0, "tool runs"))
    };
    let mislabelled = "cut_arguments_mislabelled";
    let strike_once = |scenario: Scenario| Scenario {
        faults: scenario.faults.replace("\ndo", "\nmatch = { call = 1 }\ndo").into(),
        ..scenario
    };
    vec![
        cut("R22", "arguments cut off", "cut_arguments"),
        strike_once(once("R22/once", "arguments cut off, once", "cut_arguments")),
        cut("R23", "arguments cut off, and called whole", mislabelled).judged(Bill::Exact, |seen| {
            is(seen.tool_runs.len(), 0, "tool runs")?;
            is(seen.quirks("stop_mismatch"), 3, "mismatches")?;
            all_ended(seen, "truncated_arguments", 3)
        }),
        strike_once(once("R23/once", "arguments cut off, and called whole, once", mislabelled)),
    ]
}

fn wrong() -> Vec<Scenario> {
    // The model is told what is wrong, and answers then.
    let odd = |id, title, say: &str| {
        Scenario::new(id, title)
            .with_tool()
            .fault(format!("match = {{ call = 1 }}\ndo = {{ say = \"{say}\" }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| {
                is(seen.tool_runs.len(), 0, "tool runs")?;
                all_ended(seen, "invalid_arguments", 1)
            })
    };
    let plain = |id, title, say: &str| {
        odd(id, title, say)
            .team(|stage| {
                let lookup = stage.tools().plain_tool("lookup", Behaviour::Answers)?;
                Ok(Arc::new(stage.asker()?.tool(lookup)))
            })
            .judged(Bill::Exact, |seen| is(seen.tool_runs.len(), 1, "tool runs"))
    };
    vec![
        odd("R24/keys", "arguments of another tool, one key twice", "duplicate_keys"),
        odd("R24/huge", "arguments of five megabytes", "huge_arguments").takes(0..=300_000),
        odd("R24/deep", "arguments that nest ten thousand deep", "deep_arguments").takes(0..=300_000),
        odd("R24/nan", "arguments with no number", "nan_arguments"),
        odd("R24/none", "no arguments where some are needed", "empty_arguments"),
        plain("R24/empty", "no arguments where none are needed", "empty_arguments"),
        plain("R24/null", "arguments of null where none are needed", "null_arguments").only(CHAT),
        odd("R24/always", "arguments that are always wrong", "duplicate_keys")
            .script_of("[[rule]]\nanswer = { tool_calls = [{ name = \"lookup\", arguments = '{\"turn\":{{turn}}}' }] }")
            .ends(Ends::Stops(StopReason::ToolArgumentsInvalid), 3..=3)
            .judged(Bill::Exact, |seen| all_ended(seen, "invalid_arguments", 3)),
    ]
}

/// The answer has a form that it must have, and is asked for again when it has not.
fn misshapen() -> Vec<Scenario> {
    let misshapen = |id, title, answer: &str| {
        Scenario::new(id, title)
            .script_of(format!("[[rule]]\nanswer = {{ text = '{answer}' }}"))
            .team(|stage| {
                let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}"#;
                let schema = OutputSchema { name: "n".into(), schema: RawJson::parse(schema.into())?, strict: false };
                Ok(Arc::new(stage.asker()?.output_schema(schema)))
            })
            .ends(Ends::Stops(StopReason::InvalidOutput), 3..=3)
            .judged(Bill::Exact, |seen| is(rejected(seen), 2, "re-asks"))
    };
    vec![
        misshapen("R24/answer", "an answer that is no number", r#"{"n":"$CANARY"}"#),
        misshapen("R24/answer-key", "an answer with a field that nobody asked for", r#"{"$CANARY":1}"#),
        misshapen("R24/answer-text", "an answer in words where JSON is asked for", "$CANARY"),
    ]
}

fn invented() -> Vec<Scenario> {
    let insists = |id, title, name: &str| {
        let rule = format!("[[rule]]\nanswer = {{ tool_calls = [{{ name = \"{name}\", arguments = '{{}}' }}] }}");
        Scenario::new(id, title)
            .with_tool()
            .script_of(rule)
            .ends(Ends::Stops(StopReason::UnknownToolLimit), 3..=3)
            .judged(Bill::Exact, |seen| is(unknown(seen), 3, "unknown tools"))
    };
    vec![
        insists("R25/same", "one invented tool, again and again", "no_such_tool"),
        insists("R25/new", "a new invented tool each time", "no_such_tool_{{turn}}"),
        insists("R25/name", "an invented tool whose name no provider takes back", "delete all {{turn}}!"),
        insists("R25/others", "the tool of another agent", "critic_tool"),
    ]
}

fn twins() -> Vec<Scenario> {
    let twins = |id, title, say: &str| {
        Scenario::new(id, title)
            .with_tool()
            .fault(format!("match = {{ call = 1 }}\ndo = {{ say = \"{say}\" }}"))
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| ran(seen, 2))
    };
    let again = r#"
[[rule]]
when   = { turn = 0 }
answer = { tool_calls = [{ name = "lookup", arguments = '{"query":"one"}' }] }
[[rule]]
when   = { turn = 1 }
answer = { tool_calls = [{ name = "lookup", arguments = '{"query":"two"}' }] }
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;
    vec![
        twins("R26/different", "two calls, one id", "twin_ids"),
        twins("R26/same", "one call twice, one id", "identical_twins").judged(Bill::Exact, |seen| ran(seen, 1)),
        twins("R26/repeatable", "one call twice, one id, a tool that may be run again", "identical_twins").team(
            |stage| {
                let lookup = stage.tools().tool("lookup", Behaviour::Answers)?;
                Ok(Arc::new(stage.asker()?.tool(lookup.repeatable())))
            },
        ),
        Scenario::new("R26/reused", "an id of an earlier turn")
            .with_tool()
            .script_of(again)
            .fault("match = { call = 2 }\ndo = { say = \"reused_id\" }")
            .ends(Ends::Says(ANSWER), 3..=3)
            .judged(Bill::Exact, |seen| ran(seen, 2)),
    ]
}

fn refusals() -> Vec<Scenario> {
    let refuses = |id, title, say: &str| {
        Scenario::new(id, title)
            .fault(format!("do = {{ say = \"{say}\" }}"))
            .ends(Ends::Stops(StopReason::Refused), 1..=1)
    };
    vec![
        refuses("R27/refusal", "the model declines", "refusal"),
        refuses("R27/whole", "the model declines, in one piece", "refusal").whole(),
        refuses("R27/fallback", "the model declines, and another one is not asked", "refusal").with_fallback(),
        refuses("R27/filter", "a filter cuts the answer", "content_filter").only(OPENAI),
    ]
}

/// The tool was run so often, and one id was found to be in use.
fn ran(seen: &crate::Seen, times: usize) -> Result<(), String> {
    is(seen.tool_runs.len(), times, "tool runs")?;
    is(seen.quirks("duplicate_tool_call_id"), 1, "ids in use")
}

fn rejected(seen: &crate::Seen) -> usize {
    seen.count(|event| matches!(event, Event::AnswerRejected { .. }))
}

fn unknown(seen: &crate::Seen) -> usize {
    seen.count(|event| matches!(event, Event::UnknownTool { .. }))
}

/// Every tool call ended so, and there were so many.
pub(super) fn all_ended(seen: &crate::Seen, end: &str, times: usize) -> Result<(), String> {
    let ends = seen.tool_ends();
    if ends == vec![end; times] { Ok(()) } else { Err(format!("tool calls ended with {ends:?}, not {times} × {end}")) }
}
