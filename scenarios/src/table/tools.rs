//! Tools that hang, panic, fail or return too much: R28 to R31. (R32 and R33 are about tools behind a network and are
//! tested with those.)

use std::{sync::Arc, time::Duration};

use brigade_core::{Agent, StopReason};

use super::expect_count;
use crate::{
    scenario::environment::Environment,
    scenario::observation::{Observation, ObservedEnd},
    scenario::scenario::{ANSWER, ExpectedBill, ExpectedEnd, Scenario},
    scenario::tools::ToolBehavior::{self, Answers, AnswersAfter, Fails, Floods, Hangs, Panics},
};

/// Three tool calls at once, and then an answer that repeats their results.
const THREE: &str = r#"
[[rule]]
when   = { turn = 0 }
answer = { tool_calls = [
    { name = "first", arguments = '{"query":"1"}' },
    { name = "second", arguments = '{"query":"2"}' },
    { name = "third", arguments = '{"query":"3"}' },
] }
[[rule]]
answer = { text = "{{tool_results}}" }
"#;

pub(super) fn all() -> Vec<Scenario> {
    let three = |id, title| Scenario::new(id, title).with_script(THREE).expect_end(ExpectedEnd::Any, 2..=2);
    vec![
        three("R28", "one of three tools hangs")
            .team(|environment| Ok(Arc::new(with_three(environment, [Answers, Hangs, Answers])?)))
            .takes_millis(30_000..=31_000)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.tool_ends().iter().filter(|end| **end == "timeout").count(), 1, "timeouts")?;
                model_read(observed, ["first found", "did not answer within 30s", "third found"])
            }),
        three("R29", "one of three tools panics")
            .team(|environment| Ok(Arc::new(with_three(environment, [Answers, Panics, Answers])?)))
            .expect_bill(ExpectedBill::Exact, |observed| {
                model_read(observed, ["first found", "internal error", "third found"])
            }),
        three("R29/fails", "one of three tools fails")
            .team(|environment| Ok(Arc::new(with_three(environment, [Answers, Fails, Answers])?)))
            .expect_bill(ExpectedBill::Exact, |observed| {
                model_read(observed, ["first found", "nothing works today", "third found"])
            }),
        Scenario::new("R29/always", "a tool that panics at every call")
            .with_script("[[rule]]\nanswer = { tool_calls = [{ name = \"lookup\", arguments = '{\"query\":\"q\"}' }] }")
            .team(|environment| Ok(Arc::new(environment.asker()?.tool(environment.tools().tool("lookup", Panics)?))))
            .expect_end(ExpectedEnd::Stop(StopReason::LoopDetected), 5..=5)
            .expect_bill(ExpectedBill::Exact, was_disabled),
        Scenario::new("R29/varied", "a tool that fails with any arguments")
            .with_script(
                "[[rule]]\nanswer = { tool_calls = [{ name = \"lookup\", arguments = '{\"query\":\"{{turn}}\"}' }] }",
            )
            .team(|environment| Ok(Arc::new(environment.asker()?.tool(environment.tools().tool("lookup", Fails)?))))
            .expect_end(ExpectedEnd::Stop(StopReason::UnknownToolLimit), 6..=6)
            .expect_bill(ExpectedBill::Exact, was_disabled),
        three("R30", "results in a different order than the calls")
            .team(|environment| {
                let after = |millis| AnswersAfter(Duration::from_millis(millis));
                Ok(Arc::new(with_three(environment, [after(200), after(300), after(100)])?))
            })
            .expect_bill(ExpectedBill::Exact, |observed| {
                model_read(observed, ["first found", "second found", "third found"])
            }),
        three("R30/late", "a result after the timeout")
            .team(|environment| {
                let late = AnswersAfter(Duration::from_secs(31));
                Ok(Arc::new(with_three(environment, [Answers, late, Answers])?))
            })
            .takes_millis(30_000..=31_500)
            .expect_bill(ExpectedBill::Exact, |observed| {
                model_read(observed, ["first found", "did not answer within 30s", "third found"])
            }),
        Scenario::new("R31", "fifty megabytes of hostile output")
            .with_tool()
            .team(|environment| {
                Ok(Arc::new(environment.asker()?.tool(environment.tools().tool("lookup", Floods(50 << 20))?)))
            })
            .expect_end(ExpectedEnd::Answer(ANSWER), 2..=2)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.tool_runs.len(), 1, "tool runs")?;
                let bytes = observed.calls.iter().map(|call| call.request_bytes).max().unwrap_or_default();
                if bytes < 400 << 10 { Ok(()) } else { Err(format!("{bytes} bytes were sent to the model")) }
            }),
    ]
}

fn with_three(environment: &Environment, [first, second, third]: [ToolBehavior; 3]) -> anyhow::Result<Agent> {
    let tools = environment.tools();
    let agent = environment.asker()?.tool(tools.tool("first", first)?).tool(tools.tool("second", second)?);
    Ok(agent.tool(tools.tool("third", third)?))
}

/// Checks that the tool was run three times and then disabled.
fn was_disabled(observed: &Observation) -> Result<(), String> {
    expect_count(observed.tool_runs.len(), 3, "tool runs")?;
    let ends = observed.tool_ends().into_iter().skip(3);
    expect_count(ends.filter(|end| *end != "disabled").count(), 0, "other ends")?;
    expect_count(observed.degraded().iter().filter(|part| **part == "tool:lookup").count(), 1, "degraded tools")
}

/// Checks that the model received these results, in this order.
fn model_read(observed: &Observation, results: [&str; 3]) -> Result<(), String> {
    let Some(ObservedEnd::Outcome { stop: StopReason::Finished, text, .. }) = observed.ends.first() else {
        return Err("the run did not finish".to_owned());
    };
    let places: Vec<_> = results.iter().map(|result| text.find(result)).collect();
    if places.is_sorted() && places.iter().all(Option::is_some) {
        Ok(())
    } else {
        Err(format!("the model read {text:?}"))
    }
}
