//! Answers that are empty, cut off, malformed or refused: R20 to R27.

use std::sync::Arc;

use brigade_core::{Event, OutputSchema, RawJson, Settings, StopReason};
use brigade_rehearsal::WireDialect;

use super::expect_count;
use crate::{
    scenario::observation::Observation,
    scenario::scenario::{ANSWER, ExpectedBill, ExpectedEnd, Scenario, Team},
    scenario::tools::ToolBehavior,
};

const OPENAI: &[WireDialect] = &[WireDialect::OpenaiChat, WireDialect::OpenaiResponses];
const CHAT: &[WireDialect] = &[WireDialect::OpenaiChat];

pub(super) fn all() -> Vec<Scenario> {
    let families = [
        empty_answers(),
        truncated_answers(),
        truncated_arguments(),
        invalid_arguments(),
        invalid_outputs(),
        unknown_tools(),
        duplicate_ids(),
        refusals(),
    ];
    families.into_iter().flatten().collect()
}

fn empty_answers() -> Vec<Scenario> {
    let once = |id, title, say: &str| {
        Scenario::new(id, title)
            .fault(format!("match = {{ call = 1 }}\ndo = {{ say = \"{say}\" }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(rejected(observed), 1, "re-asks"))
    };
    vec![
        once("R20/empty", "an empty answer", "empty"),
        once("R20/nothing", "an answer without content", "nothing"),
        once("R20/white-space", "an answer of white space", "whitespace"),
        once("R20/reasoning", "an answer that has only reasoning", "reasoning_only"),
        Scenario::new("R20/always", "every answer is empty")
            .fault("do = { say = \"empty\" }")
            .expect_end(ExpectedEnd::Stop(StopReason::Empty), 2..=2),
    ]
}

fn truncated_answers() -> Vec<Scenario> {
    let limited: Team = |environment| {
        let settings = Settings::default().max_output_tokens(Some(500));
        Ok(Arc::new(environment.asker()?.settings(settings)))
    };
    vec![
        Scenario::new("R21", "all output tokens spent on reasoning, once")
            .team(limited)
            .fault("match = { call = 1 }\ndo = { say = \"out_of_tokens\" }")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2),
        Scenario::new("R21/always", "all output tokens spent on reasoning, always")
            .team(limited)
            .fault("do = { say = \"out_of_tokens\" }")
            .expect_end(ExpectedEnd::Stop(StopReason::Truncated), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| {
                let outputs: Vec<u64> = observed.calls.iter().map(|call| call.usage.output).collect();
                if outputs == [500, 1_000] { Ok(()) } else { Err(format!("the limits were {outputs:?}")) }
            }),
    ]
}

fn truncated_arguments() -> Vec<Scenario> {
    let cut = |id, title, say: &str| {
        Scenario::new(id, title)
            .with_tool()
            .fault(format!("do = {{ say = \"{say}\" }}"))
            .expect_end(ExpectedEnd::Stop(StopReason::ToolArgumentsTruncated), 3..=3)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.tool_runs.len(), 0, "tool runs")?;
                all_ended(observed, "truncated_arguments", 3)
            })
    };
    let once = |id, title, say: &str| {
        cut(id, title, say)
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.tool_runs.len(), 0, "tool runs"))
    };
    let mislabelled = "cut_arguments_mislabelled";
    let fault_once = |scenario: Scenario| Scenario {
        faults: scenario.faults.replace("\ndo", "\nmatch = { call = 1 }\ndo").into(),
        ..scenario
    };
    vec![
        cut("R22", "arguments cut off", "cut_arguments"),
        fault_once(once("R22/once", "arguments cut off, once", "cut_arguments")),
        cut("R23", "arguments cut off, with a stop reason that says they are complete", mislabelled).expect_bill(
            ExpectedBill::Exact,
            |observed| {
                expect_count(observed.tool_runs.len(), 0, "tool runs")?;
                expect_count(observed.quirks("stop_mismatch"), 3, "mismatches")?;
                all_ended(observed, "truncated_arguments", 3)
            },
        ),
        fault_once(once("R23/once", "arguments cut off, with a wrong stop reason, once", mislabelled)),
    ]
}

fn invalid_arguments() -> Vec<Scenario> {
    // The model gets the error as the tool's result, and then answers.
    let invalid = |id, title, say: &str| {
        Scenario::new(id, title)
            .with_tool()
            .fault(format!("match = {{ call = 1 }}\ndo = {{ say = \"{say}\" }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.tool_runs.len(), 0, "tool runs")?;
                all_ended(observed, "invalid_arguments", 1)
            })
    };
    let plain = |id, title, say: &str| {
        invalid(id, title, say)
            .team(|environment| {
                let lookup = environment.tools().plain_tool("lookup", ToolBehavior::Answers)?;
                Ok(Arc::new(environment.asker()?.tool(lookup)))
            })
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(observed.tool_runs.len(), 1, "tool runs"))
    };
    vec![
        invalid("R24/keys", "arguments with a duplicate key", "duplicate_keys"),
        invalid("R24/huge", "arguments of five megabytes", "huge_arguments").takes_millis(0..=300_000),
        invalid("R24/deep", "arguments nested ten thousand levels deep", "deep_arguments").takes_millis(0..=300_000),
        invalid("R24/nan", "arguments with NaN", "nan_arguments"),
        invalid("R24/none", "no arguments for a tool that needs some", "empty_arguments"),
        plain("R24/empty", "no arguments for a tool without arguments", "empty_arguments"),
        plain("R24/null", "null as arguments for a tool without arguments", "null_arguments").in_dialects(CHAT),
        invalid("R24/always", "arguments that are always invalid", "duplicate_keys")
            .with_script(
                "[[rule]]\nanswer = { tool_calls = [{ name = \"lookup\", arguments = '{\"turn\":{{turn}}}' }] }",
            )
            .expect_end(ExpectedEnd::Stop(StopReason::ToolArgumentsInvalid), 3..=3)
            .expect_bill(ExpectedBill::Exact, |observed| all_ended(observed, "invalid_arguments", 3)),
    ]
}

/// The agent has an output schema, and asks again after an answer that does not match it.
fn invalid_outputs() -> Vec<Scenario> {
    let invalid = |id, title, answer: &str| {
        Scenario::new(id, title)
            .with_script(format!("[[rule]]\nanswer = {{ text = '{answer}' }}"))
            .team(|environment| {
                let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}"#;
                let schema = OutputSchema::new("n", RawJson::parse(schema.into())?);
                Ok(Arc::new(environment.asker()?.output_schema(schema)))
            })
            .expect_end(ExpectedEnd::Stop(StopReason::InvalidOutput), 3..=3)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(rejected(observed), 2, "re-asks"))
    };
    vec![
        invalid("R24/answer", "an answer with a string instead of a number", r#"{"n":"$CANARY"}"#),
        invalid("R24/answer-key", "an answer with an additional field", r#"{"$CANARY":1}"#),
        invalid("R24/answer-text", "an answer that is not JSON", "$CANARY"),
    ]
}

fn unknown_tools() -> Vec<Scenario> {
    let unknown_tool = |id, title, name: &str| {
        let rule = format!("[[rule]]\nanswer = {{ tool_calls = [{{ name = \"{name}\", arguments = '{{}}' }}] }}");
        Scenario::new(id, title)
            .with_tool()
            .with_script(rule)
            .expect_end(ExpectedEnd::Stop(StopReason::UnknownToolLimit), 3..=3)
            .expect_bill(ExpectedBill::Exact, |observed| expect_count(unknown(observed), 3, "unknown tools"))
    };
    vec![
        unknown_tool("R25/same", "one unknown tool, again and again", "no_such_tool"),
        unknown_tool("R25/new", "a different unknown tool each time", "no_such_tool_{{turn}}"),
        unknown_tool("R25/name", "an unknown tool with a name that providers reject", "delete all {{turn}}!"),
        unknown_tool("R25/others", "the tool of another agent", "critic_tool"),
    ]
}

fn duplicate_ids() -> Vec<Scenario> {
    let duplicate = |id, title, say: &str| {
        Scenario::new(id, title)
            .with_tool()
            .fault(format!("match = {{ call = 1 }}\ndo = {{ say = \"{say}\" }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| expect_runs(observed, 2))
    };
    let two_lookups = r#"
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
        duplicate("R26/different", "two calls with one id", "twin_ids"),
        duplicate("R26/same", "the same call twice with one id", "identical_twins")
            .expect_bill(ExpectedBill::Exact, |observed| expect_runs(observed, 1)),
        duplicate("R26/repeatable", "the same call twice with one id, of a repeatable tool", "identical_twins").team(
            |environment| {
                let lookup = environment.tools().tool("lookup", ToolBehavior::Answers)?;
                Ok(Arc::new(environment.asker()?.tool(lookup.repeatable())))
            },
        ),
        Scenario::new("R26/reused", "a call with the id of an earlier turn")
            .with_tool()
            .with_script(two_lookups)
            .fault("match = { call = 2 }\ndo = { say = \"reused_id\" }")
            .expect_end(ExpectedEnd::Answer(ANSWER), 3..=3)
            .expect_bill(ExpectedBill::Exact, |observed| expect_runs(observed, 2)),
    ]
}

fn refusals() -> Vec<Scenario> {
    let refuses = |id, title, say: &str| {
        Scenario::new(id, title)
            .fault(format!("do = {{ say = \"{say}\" }}"))
            .expect_end(ExpectedEnd::Stop(StopReason::Refused), 1..=1)
    };
    vec![
        refuses("R27/refusal", "the model refuses", "refusal"),
        refuses("R27/unstreamed", "the model refuses, without streaming", "refusal").unstreamed(),
        refuses("R27/fallback", "the model refuses, and the fallback is not asked", "refusal").with_fallback(),
        refuses("R27/filter", "a content filter cuts the answer", "content_filter").in_dialects(OPENAI),
    ]
}

/// Checks that the tool ran this many times and that one duplicate id was reported.
fn expect_runs(observed: &Observation, times: usize) -> Result<(), String> {
    expect_count(observed.tool_runs.len(), times, "tool runs")?;
    expect_count(observed.quirks("duplicate_tool_call_id"), 1, "duplicate ids")
}

fn rejected(observed: &Observation) -> usize {
    observed.count(|event| matches!(event, Event::AnswerRejected { .. }))
}

fn unknown(observed: &Observation) -> usize {
    observed.count(|event| matches!(event, Event::UnknownTool { .. }))
}

/// Checks that there were this many tool calls and that each ended with `end`.
pub(super) fn all_ended(observed: &Observation, end: &str, times: usize) -> Result<(), String> {
    let ends = observed.tool_ends();
    if ends == vec![end; times] { Ok(()) } else { Err(format!("tool calls ended with {ends:?}, not {times} × {end}")) }
}
