//! Deployments that do not serve a model, and servers that accept less than the vendor: R41 to R44.

use std::sync::Arc;

use brigade_core::{Effort, ModelErrorKind, Reasoning, Settings, StopReason, TurnLimits};
use brigade_rehearsal::WireDialect;

use super::expect_count;
use crate::{
    scenario::observation::{Observation, ObservedEnd},
    scenario::scenario::{ANSWER, CALLS_TOOL_FIRST, ExpectedBill, ExpectedEnd, Scenario, Team},
    scenario::tools::ToolBehavior,
};

const CHAT: &[WireDialect] = &[WireDialect::OpenaiChat];
const OPENAI: &[WireDialect] = &[WireDialect::OpenaiChat, WireDialect::OpenaiResponses];
const ENCRYPTED: &[WireDialect] = &[WireDialect::OpenaiResponses, WireDialect::Anthropic];

pub(super) fn all() -> Vec<Scenario> {
    let families = [withdrawn_models(), foreign_reasoning(), strict_templates(), refused_settings()];
    families.into_iter().flatten().collect()
}

fn withdrawn_models() -> Vec<Scenario> {
    let gone = |id, title, answer: &str| {
        Scenario::new(id, title)
            .with_fallback()
            .fault(format!("match = {{ model = \"$MAIN\" }}\ndo = {{ {answer} }}"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, is_degraded)
    };
    let decommissioned = "status = 400, body = '{\"error\":{\"message\":\"x\",\"code\":\"model_decommissioned\"}}'";
    vec![
        gone("R41", "the model does not exist", "status = 404"),
        gone("R41/unstreamed", "the model does not exist, without streaming", "status = 404").unstreamed(),
        gone("R41/gone", "the model was removed", "status = 410, body = ''"),
        gone("R41/decommissioned", "the model was decommissioned", decommissioned),
        gone("R41/redirect", "the provider has moved", "status = 308, body = ''"),
        Scenario::new("R41/alone", "the model does not exist, without a fallback")
            .fault("do = { status = 404 }")
            .expect_end(ExpectedEnd::Failure(ModelErrorKind::NoSuchModel), 1..=1)
            .expect_bill(ExpectedBill::Nothing, |_| Ok(())),
    ]
}

/// The main model reasons and calls a tool, and then fails. The fallback's account cannot read that reasoning.
fn foreign_reasoning() -> Vec<Scenario> {
    let thinks = CALLS_TOOL_FIRST.replace("answer = { tool_calls", "answer = { thinking = \"hm\", tool_calls");
    let team: Team = |environment| {
        let lookup = environment.tools().tool("lookup", ToolBehavior::Answers)?;
        let settings = Settings::default().reasoning(Some(Reasoning::Effort(Effort::Low)));
        Ok(Arc::new(environment.asker()?.tool(lookup).settings(settings)))
    };
    let refuses = |start: &str| {
        let error = "status = 400, error = \"invalid_request_error\"";
        format!("match = {{ model = \"$FALLBACK\", body_contains = \"{start}\" }}\ndo = {{ {error} }}")
    };
    vec![
        Scenario::new("R42", "a fallback at another account, which cannot read the reasoning so far")
            .in_dialects(ENCRYPTED)
            .with_script(thinks)
            .team(team)
            .with_fallback()
            .fault("match = { model = \"$MAIN\", from_call = 2 }\ndo = { status = 503 }")
            .fault(refuses("gAAAAABo"))
            .fault(refuses("EqQBCkYIBxgCKkC"))
            .expect_end(ExpectedEnd::Answer(ANSWER), 3..=5)
            .takes_millis(0..=10_000)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.tool_runs.len(), 1, "tool runs")?;
                is_degraded(observed)
            }),
    ]
}

/// Roles must alternate, and the arguments of each call must be a JSON object.
fn strict_templates() -> Vec<Scenario> {
    let strict = |id, title| Scenario { template: true, ..Scenario::new(id, title).in_dialects(CHAT) };
    let last_turn: Team = |environment| {
        let lookup = environment.tools().tool("lookup", ToolBehavior::Answers)?;
        Ok(Arc::new(environment.asker()?.tool(lookup).limits(TurnLimits::default().turns(2))))
    };
    vec![
        strict("R43", "a tool call and its result").with_tool().expect_end(ExpectedEnd::Answer(ANSWER), 2..=2),
        strict("R43/arguments", "arguments cut off, in the history of the next turn")
            .with_tool()
            .fault("match = { call = 1 }\ndo = { say = \"cut_arguments\" }")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2),
        strict("R43/last-turn", "the note of the last turn follows the result of a tool")
            .with_tool()
            .team(last_turn)
            .expect_end(ExpectedEnd::Stop(StopReason::MaxTurns), 2..=2),
        strict("R43/empty", "the question is repeated after an empty answer")
            .fault("match = { call = 1 }\ndo = { say = \"empty\" }")
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2),
    ]
}

fn refused_settings() -> Vec<Scenario> {
    let team: Team = |environment| {
        let settings = Settings::default().temperature(Some(0.3)).stop_sequences(vec!["END".into()]);
        Ok(Arc::new(environment.asker()?.settings(settings)))
    };
    vec![
        Scenario::new("R44", "settings that the model refuses")
            .in_dialects(OPENAI)
            .team(team)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.quirks("left_out_temperature"), 1, "temperatures left out")
            }),
    ]
}

/// Every outcome lists the model that was replaced.
fn is_degraded(observed: &Observation) -> Result<(), String> {
    let lists = |end: &ObservedEnd| matches!(end, ObservedEnd::Outcome { degraded, .. } if degraded.iter().any(|part| part.starts_with("model:")));
    if observed.ends.iter().all(lists) { Ok(()) } else { Err("an outcome does not list the replaced model".to_owned()) }
}
