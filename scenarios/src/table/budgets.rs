//! Loops, budgets and failing workers: R34 to R38.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{
    Agent, Budget, Event, Money, OnExhausted, Outcome, Run, RunError, RunFailure, Runnable, Settings, StopReason, Task,
    ToolLimits, Worker,
};
use brigade_rehearsal::Latency;

use super::expect_count;
use crate::{
    scenario::environment::{Environment, FLAT_MODEL},
    scenario::observation::{Observation, ObservedEnd},
    scenario::scenario::{ANSWER, Caller, ExpectedBill, ExpectedEnd, Scenario},
    scenario::tools::ToolBehavior,
};

pub(super) fn all() -> Vec<Scenario> {
    let families = [loops(), delegation_cycles(), races(), exhausted_budgets(), workers()];
    families.into_iter().flatten().collect()
}

fn loops() -> Vec<Scenario> {
    let same = |id, title, arguments: &str| {
        let rule =
            format!("[[rule]]\nanswer = {{ tool_calls = [{{ name = \"lookup\", arguments = '{arguments}' }}] }}");
        Scenario::new(id, title)
            .with_tool()
            .with_script(rule)
            .expect_end(ExpectedEnd::Stop(StopReason::LoopDetected), 5..=5)
            .expect_bill(ExpectedBill::Exact, |observed| {
                expect_count(observed.count(|event| matches!(event, Event::LoopNoticed { .. })), 3, "notices")
            })
    };
    vec![
        same("R34", "the same tool call in every turn", "{\"query\":\"q\"}"),
        same(
            "R34/counter",
            "the same tool call with a counter in its arguments",
            "{\"query\":\"q\",\"attempt\":{{turn}}}",
        ),
        same("R34/finds-nothing", "the same tool call, which finds nothing", "{\"query\":\"q\"}").team(|environment| {
            let lookup = environment.tools().tool("lookup", ToolBehavior::FindsNothing)?;
            Ok(Arc::new(environment.asker()?.tool(lookup)))
        }),
    ]
}

/// A ring of agents: each has the next one as its only worker, and the last one has the first. The first one is run.
#[derive(Debug)]
struct Ring {
    name: Arc<str>,
    members: Vec<Arc<OnceLock<Agent>>>,
}

/// A reference to a member of a ring. The ring owns its members; they must not own each other.
#[derive(Debug)]
struct Member {
    name: Arc<str>,
    agent: Weak<OnceLock<Agent>>,
}

impl Ring {
    fn of(environment: &Environment, names: &[&str]) -> anyhow::Result<Self> {
        let members: Vec<Arc<OnceLock<Agent>>> = names.iter().map(|_| Arc::default()).collect();
        let others = members.iter().zip(names).cycle().skip(1);
        for ((own, name), (other, other_name)) in members.iter().zip(names).zip(others) {
            let next = Member { name: (*other_name).into(), agent: Arc::downgrade(other) };
            let agent = environment.agent(name)?.worker(Worker::new(next));
            own.set(agent).map_err(|_| anyhow::anyhow!("there are two agents named {name}"))?;
        }
        let name = names.first().copied().unwrap_or_default().into();
        Ok(Self { name, members })
    }
}

async fn run_member(agent: Option<&Arc<OnceLock<Agent>>>, run: &Run, task: Task) -> Result<Outcome, RunError> {
    match agent.and_then(|agent| agent.get()) {
        Some(agent) => Runnable::run(agent, run, task).await,
        None => Err(RunError::before(run, RunFailure::NothingToRun)),
    }
}

#[async_trait]
impl Runnable for Ring {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &'static str {
        "Delegates to the next agent."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        run_member(self.members.first(), run, task).await
    }
}

#[async_trait]
impl Runnable for Member {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &'static str {
        "Answers questions."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        run_member(self.agent.upgrade().as_ref(), run, task).await
    }
}

fn delegation_cycles() -> Vec<Scenario> {
    let delegates = |from: &str, to: &str| {
        format!(
            "[[rule]]\nwhen = {{ agent = \"{from}\" }}\nanswer = {{ tool_calls = [{{ name = \"{to}\", arguments = '{{\"task\":\"ask on\"}}' }}] }}\n"
        )
    };
    vec![
        Scenario::new("R35", "two agents that always delegate to each other")
            .with_script(delegates("ping", "pong") + &delegates("pong", "ping"))
            .team(|environment| Ok(Arc::new(Ring::of(environment, &["ping", "pong"])?)))
            .expect_end(ExpectedEnd::Stop(StopReason::DelegationCycle), 4..=4),
        Scenario::new("R35/three", "three agents that delegate in a ring")
            .with_script(delegates("one", "two") + &delegates("two", "three") + &delegates("three", "one"))
            .team(|environment| Ok(Arc::new(Ring::of(environment, &["one", "two", "three"])?)))
            .expect_end(ExpectedEnd::Stop(StopReason::DelegationCycle), 6..=6),
        Scenario::new("R35/again", "a supervisor that delegates the same task again and again")
            .with_script(delegates("desk", "worker") + FINAL_ANSWER)
            .team(|environment| {
                let desk = environment.agent("desk")?;
                Ok(Arc::new(desk.worker(Worker::new(environment.agent("worker")?))))
            })
            .expect_end(ExpectedEnd::Stop(StopReason::DelegationCycle), 7..=7),
    ]
}

const FINAL_ANSWER: &str = "[[rule]]\nanswer = { text = \"one two three four five six $CANARY\" }\n";

fn races() -> Vec<Scenario> {
    let flat: crate::scenario::scenario::Team = |environment| {
        let settings = Settings::default().max_output_tokens(Some(75_000));
        Ok(Arc::new(Agent::new("asker", environment.model_called(FLAT_MODEL)?).settings(settings)))
    };
    let slow = Latency::new(Duration::from_secs(2), Duration::ZERO);
    let race = Caller::Asks { times: 50, every: Duration::ZERO, key_cents: Some(45), run_cents: None };
    let whole_price =
        "[[rule]]\nanswer = { text = \"one two three four five six $CANARY\", usage = { output = 75000 } }";
    vec![
        Scenario { latency: slow, ..Scenario::new("R36", "fifty runs compete for the budget of three") }
            .team(flat)
            .with_script(whole_price)
            .called_by(race)
            .expect_end(ExpectedEnd::Any, 3..=3)
            .takes_millis(2_000..=2_010)
            .expect_bill(ExpectedBill::Exact, three_of_fifty),
    ]
}

/// Two cents a call. The workers call a tool in every turn.
const ALWAYS_CALLS_TOOL: &str = r#"
[[rule]]
when   = { agent = "desk", turn = 0 }
answer = { tool_calls = [{ name = "left", arguments = '{"task":"a"}' }, { name = "right", arguments = '{"task":"b"}' }], usage = { output = 10000 } }
[[rule]]
when   = { agent = "desk" }
answer = { text = "a summary, paid from the reserve $CANARY", usage = { output = 5000 } }
[[rule]]
answer = { text = "a part $CANARY {{turn}}", tool_calls = [{ name = "lookup", arguments = '{"query":"{{turn}}"}' }], usage = { output = 10000 } }
"#;

/// With ten cents and one cent reserved for the summary, there are four calls of two cents and then the summary.
/// Without a reserve, the fourth call runs until second six, and the outcome is assembled without a model. If calls in
/// flight are cancelled, one worker is refused in second four while the other one waits for its first answer. The cancelled
/// call may be billed as a whole, so the summary is paid from the reserve.
fn exhausted_budgets() -> Vec<Scenario> {
    let short = |id, title, run_cents| {
        let slow = Latency::new(Duration::from_secs(2), Duration::ZERO);
        let scenario = Scenario { latency: slow, ..Scenario::new(id, title) }.with_script(ALWAYS_CALLS_TOOL);
        scenario.called_by(Caller::Asks { times: 1, every: Duration::ZERO, key_cents: Some(100), run_cents })
    };
    let late = "[[rule]]\nwhen = { agent = \"right\" }\nanswer = { text = \"late\", latency = { first = \"6s\" } }\n";
    vec![
        short("R37", "the budget is spent while two workers run", Some(10))
            .team(|environment| Ok(Arc::new(two_workers(environment)?)))
            .expect_end(ExpectedEnd::Stop(StopReason::Budget), 5..=5)
            .takes_millis(8_000..=8_100)
            .expect_bill(ExpectedBill::Exact, has_summary_within_ten_cents),
        short("R37/no-reserve", "the budget is spent, without a reserve for a summary", None)
            .team(|environment| Ok(Arc::new(two_workers(environment)?.budget(without_reserve("0.09")?))))
            .expect_end(ExpectedEnd::Stop(StopReason::Budget), 4..=4)
            .takes_millis(6_000..=7_000)
            .expect_bill(ExpectedBill::Exact, has_partial_results),
        short("R37/cancel", "the budget is spent, and calls in flight are cancelled", None)
            .with_script(format!("{late}{ALWAYS_CALLS_TOOL}"))
            .team(|environment| {
                let desk = two_workers(environment)?.budget(Budget::default().usd("0.09")?.wrap_up_percent(25));
                Ok(Arc::new(desk.tool_limits(ToolLimits::default().on_exhausted(OnExhausted::Cancel))))
            })
            .expect_end(ExpectedEnd::Stop(StopReason::Budget), 4..=4)
            .takes_millis(6_000..=6_100)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| match observed.degraded()[..] {
                ["budget", "worker:right"] => Ok(()),
                ref other => Err(format!("degraded: {other:?}")),
            }),
    ]
}

fn two_workers(environment: &Environment) -> anyhow::Result<Agent> {
    let settings = Settings::default().max_output_tokens(Some(10_000));
    let agent = |name: &str| -> anyhow::Result<Agent> {
        Ok(Agent::new(name, environment.model_called(FLAT_MODEL)?).settings(settings.clone()))
    };
    let worker = |name: &str| -> anyhow::Result<Worker> {
        Ok(Worker::new(agent(name)?.tool(environment.tools().tool("lookup", ToolBehavior::Answers)?)))
    };
    Ok(agent("desk")?.worker(worker("left")?).worker(worker("right")?))
}

fn without_reserve(usd: &str) -> anyhow::Result<Budget> {
    Ok(Budget::default().usd(usd)?.wrap_up_percent(0))
}

/// Three complete answers, the others refused before a request was sent, and the key never above its limit.
fn three_of_fifty(observed: &Observation) -> Result<(), String> {
    let ends = |name| observed.ends.iter().filter(|end| end.name() == name).count();
    expect_count(ends("finished"), 3, "answers")?;
    expect_count(ends("budget"), 47, "refusals")?;
    let limit = Money::from_nano(450_000_000);
    if let Some(most) = observed.samples.iter().max().filter(|most| **most > limit) {
        return Err(format!("the key had spent and reserved {most}"));
    }
    if observed.billed != limit {
        return Err(format!("three answers cost {}", observed.billed));
    }
    expect_count(observed.samples.len().min(200), 200, "samples of the key")
}

/// The text of the outcome, if the run cost no more than this and only the budget is degraded.
fn text_within_budget(observed: &Observation, limit_cents: i64) -> Result<&str, String> {
    if observed.billed > Money::from_nano(limit_cents * 10_000_000) {
        return Err(format!("the run cost {}", observed.billed));
    }
    if observed.degraded() != ["budget"] {
        return Err(format!("degraded: {:?}", observed.degraded()));
    }
    if observed.count(|event| matches!(event, Event::BudgetRefused { .. })) == 0 {
        return Err("no step was refused".to_owned());
    }
    match observed.ends.first() {
        Some(ObservedEnd::Outcome { text, .. }) => Ok(text),
        other => Err(format!("there is no outcome: {other:?}")),
    }
}

fn has_summary_within_ten_cents(observed: &Observation) -> Result<(), String> {
    let text = text_within_budget(observed, 10)?;
    if text.contains("from the reserve") { Ok(()) } else { Err(format!("there is no summary: {text}")) }
}

fn has_partial_results(observed: &Observation) -> Result<(), String> {
    let text = text_within_budget(observed, 9)?;
    let whole = ["left: a part", "right: a part"].iter().all(|part| text.contains(part));
    if whole { Ok(()) } else { Err(format!("a part is missing: {text}")) }
}

fn workers() -> Vec<Scenario> {
    let five = r#"
[[rule]]
when   = { agent = "desk", turn = 0 }
answer = { tool_calls = [
    { name = "one", arguments = '{"task":"t"}' }, { name = "two", arguments = '{"task":"t"}' },
    { name = "three", arguments = '{"task":"t"}' }, { name = "dead", arguments = '{"task":"t"}' },
    { name = "slow", arguments = '{"task":"t"}' },
] }
[[rule]]
when   = { agent = "slow" }
answer = { text = "too late", latency = { first = "10m" } }
[[rule]]
answer = { text = "one two three four five six $CANARY" }
"#;
    vec![
        Scenario::new("R38", "one worker fails, one is too slow")
            .with_script(five)
            .fault("match = { agent = \"dead\" }\ndo = { status = 500 }")
            .team(|environment| {
                let desk = environment.agent("desk")?;
                let names = ["one", "two", "three", "dead", "slow"];
                let desk = names
                    .iter()
                    .try_fold(desk, |desk, name| anyhow::Ok(desk.worker(Worker::new(environment.agent(name)?))))?;
                Ok(Arc::new(desk))
            })
            .expect_end(ExpectedEnd::Answer(ANSWER), 9..=9)
            .takes_millis(120_000..=121_000)
            .expect_bill(ExpectedBill::Uncertain(1), |observed| {
                let degraded = observed.degraded();
                let both = ["worker:dead", "worker:slow"].iter().all(|part| degraded.contains(part));
                if both && degraded.len() == 2 { Ok(()) } else { Err(format!("degraded: {degraded:?}")) }
            }),
    ]
}
