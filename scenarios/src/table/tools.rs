//! Tools that hang, crash and poison: R28 to R31. (R32 and R33 are about tools behind a network, which are not here.)

use std::{sync::Arc, time::Duration};

use brigade_core::{Agent, StopReason};

use super::connection::is;
use crate::{
    scenario::{ANSWER, Bill, Ends, Scenario},
    seen::{Ended, Seen},
    stage::Stage,
    tools::Behaviour::{self, Answers, AnswersAfter, Fails, Floods, Hangs, Panics},
};

/// Three calls at once, and then what came of them.
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
    let three = |id, title| Scenario::new(id, title).script_of(THREE).ends(Ends::Differ, 2..=2);
    vec![
        three("R28", "one of three tools hangs")
            .team(|stage| Ok(Arc::new(with_three(stage, [Answers, Hangs, Answers])?)))
            .takes(30_000..=31_000)
            .judged(Bill::Exact, |seen| {
                is(seen.tool_ends().iter().filter(|end| **end == "timeout").count(), 1, "timeouts")?;
                told(seen, ["first found", "did not answer within 30s", "third found"])
            }),
        three("R29", "one of three tools panics")
            .team(|stage| Ok(Arc::new(with_three(stage, [Answers, Panics, Answers])?)))
            .judged(Bill::Exact, |seen| told(seen, ["first found", "internal error", "third found"])),
        three("R29/fails", "one of three tools fails")
            .team(|stage| Ok(Arc::new(with_three(stage, [Answers, Fails, Answers])?)))
            .judged(Bill::Exact, |seen| told(seen, ["first found", "nothing works today", "third found"])),
        Scenario::new("R29/always", "a tool that panics whenever it is called")
            .script_of("[[rule]]\nanswer = { tool_calls = [{ name = \"lookup\", arguments = '{\"query\":\"q\"}' }] }")
            .team(|stage| Ok(Arc::new(stage.asker()?.tool(stage.tools().tool("lookup", Panics)?))))
            .ends(Ends::Stops(StopReason::LoopDetected), 5..=5)
            .judged(Bill::Exact, switched_off),
        Scenario::new("R29/varied", "a tool that fails whatever it is asked")
            .script_of(
                "[[rule]]\nanswer = { tool_calls = [{ name = \"lookup\", arguments = '{\"query\":\"{{turn}}\"}' }] }",
            )
            .team(|stage| Ok(Arc::new(stage.asker()?.tool(stage.tools().tool("lookup", Fails)?))))
            .ends(Ends::Stops(StopReason::UnknownToolLimit), 6..=6)
            .judged(Bill::Exact, switched_off),
        three("R30", "results in another order than the calls")
            .team(|stage| {
                let after = |millis| AnswersAfter(Duration::from_millis(millis));
                Ok(Arc::new(with_three(stage, [after(200), after(300), after(100)])?))
            })
            .judged(Bill::Exact, |seen| told(seen, ["first found", "second found", "third found"])),
        three("R30/late", "a result that comes after its time")
            .team(|stage| {
                let late = AnswersAfter(Duration::from_secs(31));
                Ok(Arc::new(with_three(stage, [Answers, late, Answers])?))
            })
            .takes(30_000..=31_500)
            .judged(Bill::Exact, |seen| told(seen, ["first found", "did not answer within 30s", "third found"])),
        Scenario::new("R31", "fifty megabytes of poison")
            .with_tool()
            .team(|stage| Ok(Arc::new(stage.asker()?.tool(stage.tools().tool("lookup", Floods(50 << 20))?))))
            .ends(Ends::Says(ANSWER), 2..=2)
            .judged(Bill::Exact, |seen| {
                is(seen.tool_runs.len(), 1, "tool runs")?;
                let bytes = seen.calls.iter().map(|call| call.request_bytes).max().unwrap_or_default();
                if bytes < 400 << 10 { Ok(()) } else { Err(format!("{bytes} bytes went to the model")) }
            }),
    ]
}

fn with_three(stage: &Stage, [first, second, third]: [Behaviour; 3]) -> anyhow::Result<Agent> {
    let tools = stage.tools();
    let agent = stage.asker()?.tool(tools.tool("first", first)?).tool(tools.tool("second", second)?);
    Ok(agent.tool(tools.tool("third", third)?))
}

/// The tool was run three times, and no more.
fn switched_off(seen: &Seen) -> Result<(), String> {
    is(seen.tool_runs.len(), 3, "tool runs")?;
    let ends = seen.tool_ends().into_iter().skip(3);
    is(ends.filter(|end| *end != "disabled").count(), 0, "other ends")?;
    is(seen.degraded().iter().filter(|part| **part == "tool:lookup").count(), 1, "tools done without")
}

/// The model read these results, in this order.
fn told(seen: &Seen, results: [&str; 3]) -> Result<(), String> {
    let Some(Ended::Outcome { stop: StopReason::Finished, text, .. }) = seen.ends.first() else {
        return Err("the run did not finish".to_owned());
    };
    let places: Vec<_> = results.iter().map(|result| text.find(result)).collect();
    if places.is_sorted() && places.iter().all(Option::is_some) {
        Ok(())
    } else {
        Err(format!("the model read {text:?}"))
    }
}
