//! Loops, budgets and workers: R34 to R38.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{
    Agent, Budget, Event, Money, OnExhausted, Outcome, Pipeline, Run, RunError, Runnable, Settings, StopReason, Task,
    ToolLimits, Worker,
};
use brigade_rehearsal::Latency;

use super::connection::is;
use crate::{
    scenario::{ANSWER, Act, Bill, Ends, Scenario},
    seen::{Ended, Seen},
    stage::{FLAT_MODEL, Stage},
    tools::Behaviour,
};

pub(super) fn all() -> Vec<Scenario> {
    let families = [loops(), ping_pong(), races(), shortages(), workers()];
    families.into_iter().flatten().collect()
}

fn loops() -> Vec<Scenario> {
    let same = |id, title, arguments: &str| {
        let rule =
            format!("[[rule]]\nanswer = {{ tool_calls = [{{ name = \"lookup\", arguments = '{arguments}' }}] }}");
        Scenario::new(id, title)
            .with_tool()
            .script_of(rule)
            .ends(Ends::Stops(StopReason::LoopDetected), 5..=5)
            .judged(Bill::Exact, |seen| {
                is(seen.count(|event| matches!(event, Event::LoopNoticed { .. })), 3, "notices")
            })
    };
    vec![
        same("R34", "the same call for ever", "{\"query\":\"q\"}"),
        same("R34/counter", "the same call with a counter beside it", "{\"query\":\"q\",\"attempt\":{{turn}}}"),
        same("R34/finds-nothing", "the same call, which finds nothing", "{\"query\":\"q\"}").team(|stage| {
            let lookup = stage.tools().tool("lookup", Behaviour::FindsNothing)?;
            Ok(Arc::new(stage.asker()?.tool(lookup)))
        }),
    ]
}

/// Agents each of which has the next one as its only worker, and the last the first. The first is asked.
#[derive(Debug)]
struct Ring {
    name: Arc<str>,
    members: Vec<Arc<OnceLock<Agent>>>,
}

/// A member of a ring, as the one before sees it. The ring owns its members; they must not own each other.
#[derive(Debug)]
struct Member {
    name: Arc<str>,
    agent: Weak<OnceLock<Agent>>,
}

impl Ring {
    fn of(stage: &Stage, names: &[&str]) -> anyhow::Result<Self> {
        let members: Vec<Arc<OnceLock<Agent>>> = names.iter().map(|_| Arc::default()).collect();
        let others = members.iter().zip(names).cycle().skip(1);
        for ((own, name), (other, other_name)) in members.iter().zip(names).zip(others) {
            let next = Member { name: (*other_name).into(), agent: Arc::downgrade(other) };
            let agent = stage.agent(name)?.worker(Worker::new(next));
            own.set(agent).map_err(|_| anyhow::anyhow!("{name} was built already"))?;
        }
        let name = names.first().copied().unwrap_or_default().into();
        Ok(Self { name, members })
    }
}

async fn ask(agent: Option<&Arc<OnceLock<Agent>>>, run: &Run, task: Task) -> Result<Outcome, RunError> {
    match agent.and_then(|agent| agent.get()) {
        Some(agent) => Runnable::run(agent, run, task).await,
        // An agent that nobody built says so when it is asked.
        None => Runnable::run(&Pipeline::new("nobody"), run, task).await,
    }
}

#[async_trait]
impl Runnable for Ring {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &'static str {
        "Asks on."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        ask(self.members.first(), run, task).await
    }
}

#[async_trait]
impl Runnable for Member {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn purpose(&self) -> &'static str {
        "Knows what the other one does not."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        ask(self.agent.upgrade().as_ref(), run, task).await
    }
}

fn ping_pong() -> Vec<Scenario> {
    let asks = |from: &str, to: &str| {
        format!(
            "[[rule]]\nwhen = {{ agent = \"{from}\" }}\nanswer = {{ tool_calls = [{{ name = \"{to}\", arguments = '{{\"task\":\"ask on\"}}' }}] }}\n"
        )
    };
    vec![
        Scenario::new("R35", "two agents that always ask each other")
            .script_of(asks("ping", "pong") + &asks("pong", "ping"))
            .team(|stage| Ok(Arc::new(Ring::of(stage, &["ping", "pong"])?)))
            .ends(Ends::Stops(StopReason::DelegationCycle), 4..=4),
        Scenario::new("R35/three", "three agents that ask round in a ring")
            .script_of(asks("one", "two") + &asks("two", "three") + &asks("three", "one"))
            .team(|stage| Ok(Arc::new(Ring::of(stage, &["one", "two", "three"])?)))
            .ends(Ends::Stops(StopReason::DelegationCycle), 6..=6),
        Scenario::new("R35/again", "a supervisor that gives the same task again")
            .script_of(asks("desk", "worker") + SCRIPT_END)
            .team(|stage| {
                let desk = stage.agent("desk")?;
                Ok(Arc::new(desk.worker(Worker::new(stage.agent("worker")?))))
            })
            .ends(Ends::Stops(StopReason::DelegationCycle), 7..=7),
    ]
}

const SCRIPT_END: &str = "[[rule]]\nanswer = { text = \"one two three four five six $CANARY\" }\n";

fn races() -> Vec<Scenario> {
    let flat: crate::Team = |stage| {
        let settings = Settings { max_output_tokens: Some(75_000), ..Settings::default() };
        Ok(Arc::new(Agent::new("asker", stage.model_called(FLAT_MODEL)?).settings(settings)))
    };
    let slow = Latency { first: Duration::from_secs(2), between: Duration::ZERO };
    let race = Act::Ask { times: 50, every: Duration::ZERO, key_cents: Some(45), run_cents: None };
    let whole_price =
        "[[rule]]\nanswer = { text = \"one two three four five six $CANARY\", usage = { output = 75000 } }";
    vec![
        Scenario { latency: slow, ..Scenario::new("R36", "fifty runs race for three runs' money") }
            .team(flat)
            .script_of(whole_price)
            .act(race)
            .ends(Ends::Differ, 3..=3)
            .takes(2_000..=2_010)
            .judged(Bill::Exact, three_of_fifty),
    ]
}

/// Two cents a call; all that workers know to do is to look things up.
const LOOKS_UP_FOR_EVER: &str = r#"
[[rule]]
when   = { agent = "desk", turn = 0 }
answer = { tool_calls = [{ name = "left", arguments = '{"task":"a"}' }, { name = "right", arguments = '{"task":"b"}' }], usage = { output = 10000 } }
[[rule]]
when   = { agent = "desk" }
answer = { text = "the last words, paid from what was set aside $CANARY", usage = { output = 5000 } }
[[rule]]
answer = { text = "a part $CANARY {{turn}}", tool_calls = [{ name = "lookup", arguments = '{"query":"{{turn}}"}' }], usage = { output = 10000 } }
"#;

/// Ten cents, of which one is set aside for last words: four calls of two cents, and no fifth before those. Where nothing
/// is set aside, the fourth call is in flight until the sixth second, and what is shown then is made without a model. Where
/// work in flight is to be cancelled, one worker is refused in the fourth second while the other one waits for its first
/// answer, and that leaves enough for the supervisor's own.
fn shortages() -> Vec<Scenario> {
    let short = |id, title, run_cents| {
        let slow = Latency { first: Duration::from_secs(2), between: Duration::ZERO };
        let scenario = Scenario { latency: slow, ..Scenario::new(id, title) }.script_of(LOOKS_UP_FOR_EVER);
        scenario.act(Act::Ask { times: 1, every: Duration::ZERO, key_cents: Some(100), run_cents })
    };
    let late = "[[rule]]\nwhen = { agent = \"right\" }\nanswer = { text = \"late\", latency = { first = \"6s\" } }\n";
    vec![
        short("R37", "the money runs out while two workers work", Some(10))
            .team(|stage| Ok(Arc::new(two_workers(stage)?)))
            .ends(Ends::Stops(StopReason::Budget), 5..=5)
            .takes(8_000..=8_100)
            .judged(Bill::Exact, last_words_within_ten_cents),
        short("R37/nothing-aside", "the same with nothing set aside for last words", None)
            .team(|stage| Ok(Arc::new(two_workers(stage)?.budget(nothing_aside("0.09")?))))
            .ends(Ends::Stops(StopReason::Budget), 4..=4)
            .takes(6_000..=7_000)
            .judged(Bill::Exact, best_partial),
        short("R37/cancel", "the same where work in flight is to be cancelled", None)
            .script_of(format!("{late}{LOOKS_UP_FOR_EVER}"))
            .team(|stage| {
                let desk = two_workers(stage)?.budget(nothing_aside("0.07")?);
                Ok(Arc::new(
                    desk.tool_limits(ToolLimits { on_exhausted: OnExhausted::Cancel, ..ToolLimits::default() }),
                ))
            })
            .ends(Ends::Says("the last words, paid from what was set aside quetzalcoatlus"), 4..=4)
            .takes(6_000..=6_100)
            .judged(Bill::Uncertain(1), |seen| match seen.degraded()[..] {
                ["budget", "worker:right"] => Ok(()),
                ref other => Err(format!("degraded: {other:?}")),
            }),
    ]
}

fn two_workers(stage: &Stage) -> anyhow::Result<Agent> {
    let settings = Settings { max_output_tokens: Some(10_000), ..Settings::default() };
    let agent = |name: &str| -> anyhow::Result<Agent> {
        Ok(Agent::new(name, stage.model_called(FLAT_MODEL)?).settings(settings.clone()))
    };
    let worker = |name: &str| -> anyhow::Result<Worker> {
        Ok(Worker::new(agent(name)?.tool(stage.tools().tool("lookup", Behaviour::Answers)?)))
    };
    Ok(agent("desk")?.worker(worker("left")?).worker(worker("right")?))
}

fn nothing_aside(usd: &str) -> anyhow::Result<Budget> {
    Ok(Budget::default().usd(usd)?.wrap_up_percent(0))
}

/// Three whole answers, the others refused before anything was sent, and the key never beyond its limit.
fn three_of_fifty(seen: &Seen) -> Result<(), String> {
    let ends = |name| seen.ends.iter().filter(|end| end.name() == name).count();
    is(ends("finished"), 3, "answers")?;
    is(ends("budget"), 47, "refusals")?;
    let limit = Money::from_nano(450_000_000);
    if let Some(most) = seen.samples.iter().max().filter(|most| **most > limit) {
        return Err(format!("the key owed {most}"));
    }
    if seen.truth != limit {
        return Err(format!("three answers cost {}", seen.truth));
    }
    is(seen.samples.len().min(200), 200, "looks at the key")
}

/// The end of the run by its text, if it cost no more than this, and if all it had to do without was money.
fn short_of_money(seen: &Seen, limit_cents: i64) -> Result<&str, String> {
    if seen.truth > Money::from_nano(limit_cents * 10_000_000) {
        return Err(format!("the run cost {}", seen.truth));
    }
    if seen.degraded() != ["budget"] {
        return Err(format!("degraded: {:?}", seen.degraded()));
    }
    if seen.count(|event| matches!(event, Event::BudgetRefused(_))) == 0 {
        return Err("no step was said to be denied".to_owned());
    }
    match seen.ends.first() {
        Some(Ended::Outcome { text, .. }) => Ok(text),
        other => Err(format!("there is no outcome: {other:?}")),
    }
}

fn last_words_within_ten_cents(seen: &Seen) -> Result<(), String> {
    let text = short_of_money(seen, 10)?;
    if text.contains("set aside") { Ok(()) } else { Err(format!("there are no last words: {text}")) }
}

fn best_partial(seen: &Seen) -> Result<(), String> {
    let text = short_of_money(seen, 9)?;
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
        Scenario::new("R38", "one worker is dead, one is slow")
            .script_of(five)
            .fault("match = { agent = \"dead\" }\ndo = { status = 500 }")
            .team(|stage| {
                let desk = stage.agent("desk")?;
                let names = ["one", "two", "three", "dead", "slow"];
                let desk = names
                    .iter()
                    .try_fold(desk, |desk, name| anyhow::Ok(desk.worker(Worker::new(stage.agent(name)?))))?;
                Ok(Arc::new(desk))
            })
            .ends(Ends::Says(ANSWER), 9..=9)
            .takes(120_000..=121_000)
            .judged(Bill::Uncertain(1), |seen| {
                let degraded = seen.degraded();
                let both = ["worker:dead", "worker:slow"].iter().all(|part| degraded.contains(part));
                if both && degraded.len() == 2 { Ok(()) } else { Err(format!("degraded: {degraded:?}")) }
            }),
    ]
}
