//! Many agents at a provider that enforces rate limits: no request is rejected, the whole rate is used, no run starves.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{Agent, Event, ModelErrorKind, Outcome, Run, RunError, Runnable, Task, Worker};
use brigade_rehearsal::{CallRecord, SimulatedRateLimits, WireDialect};
use brigade_teams::Quorum;

use super::expect_count;
use crate::{
    scenario::environment::Environment,
    scenario::observation::Observation,
    scenario::scenario::{Caller, ExpectedBill, ExpectedEnd, Scenario},
    scenario::tools::ToolBehavior,
};

/// The workers of one run. The other runs have one agent each, and must not have to wait for all these workers.
const WORKERS: u32 = 56;
const SINGLE_RUNS: u32 = 8;
const RUNS: u32 = SINGLE_RUNS + 1;

/// The turns of each agent: more in total than the provider allows at once.
const TURNS: u32 = 8;

const REQUESTS_PER_MINUTE: u32 = 200;
/// Anthropic adds instructions of its own for tools, so its prompts have about four times as many tokens.
const CHAT_TOKENS_PER_MINUTE: u32 = 20_000;
const ANTHROPIC_TOKENS_PER_MINUTE: u32 = 60_000;

const CHAT: &[WireDialect] = &[WireDialect::OpenaiChat];
const ANTHROPIC: &[WireDialect] = &[WireDialect::Anthropic];
const CHAT_AND_ANTHROPIC: &[WireDialect] = &[WireDialect::OpenaiChat, WireDialect::Anthropic];

pub(super) fn all() -> Vec<Scenario> {
    let requests = ((WORKERS + SINGLE_RUNS) * TURNS) as usize;
    let crowd = |id, title, limits, check| {
        let scenario = Scenario::new(id, title).in_dialects(CHAT_AND_ANTHROPIC).with_script(tool_call_each_turn());
        // They start one after the other, so that most of them start after the first response has stated the limits.
        Scenario { limits, model_calls: Some(u64::MAX), ..scenario }
            .team(|environment| Ok(Arc::new(Crowd::of(environment)?)))
            .called_by(Caller::many(RUNS, Duration::from_millis(20)))
            .expect_end(ExpectedEnd::Any, requests..=requests)
            .takes_millis(60_000..=300_000)
            .expect_bill(ExpectedBill::Exact, check)
    };
    vec![
        crowd(
            "limits/requests",
            "64 agents under a limit of requests",
            SimulatedRateLimits::default().requests_per_minute(REQUESTS_PER_MINUTE),
            |observed| used(observed, REQUESTS_PER_MINUTE, |_| 1),
        ),
        crowd(
            "limits/tokens",
            "64 agents under a limit of tokens",
            SimulatedRateLimits::default().tokens_per_minute(CHAT_TOKENS_PER_MINUTE),
            |observed| used(observed, CHAT_TOKENS_PER_MINUTE, |call| call.usage.input),
        )
        .in_dialects(CHAT),
        crowd(
            "limits/long-tokens",
            "64 agents under a limit of tokens, with prompts that are longer than estimated",
            SimulatedRateLimits::default().tokens_per_minute(ANTHROPIC_TOKENS_PER_MINUTE),
            |observed| used(observed, ANTHROPIC_TOKENS_PER_MINUTE, |call| call.usage.input),
        )
        .in_dialects(ANTHROPIC),
    ]
}

/// A tool call in each turn except the last one.
fn tool_call_each_turn() -> String {
    let mut script = String::new();
    for turn in 0..TURNS - 1 {
        let call = format!("{{ name = \"lookup\", arguments = '{{\"query\":\"part {turn}\"}}' }}");
        // Writing to a string cannot fail.
        let _ = writeln!(script, "[[rule]]\nwhen = {{ turn = {turn} }}\nanswer = {{ tool_calls = [{call}] }}");
    }
    script + "[[rule]]\nanswer = { text = \"one two three four five six $CANARY\" }\n"
}

/// Gives the first run to many workers, and each further run to a single agent.
#[derive(Debug)]
struct Crowd {
    many: Quorum,
    one: Agent,
    has_started: AtomicBool,
}

impl Crowd {
    fn of(environment: &Environment) -> anyhow::Result<Self> {
        let agent = |name: &str| -> anyhow::Result<Agent> {
            Ok(environment.agent(name)?.tool(environment.tools().tool("lookup", ToolBehavior::Answers)?))
        };
        let mut many = Quorum::new("asker").parallel(WORKERS as usize).at_least(WORKERS as usize);
        for number in 0..WORKERS {
            let worker = Worker::new(agent(&format!("worker-{number}"))?);
            many = many.worker(worker.timeout(Duration::from_hours(1)));
        }
        Ok(Self { many, one: agent("asker")?, has_started: AtomicBool::new(false) })
    }
}

#[async_trait]
impl Runnable for Crowd {
    fn name(&self) -> &Arc<str> {
        self.one.name()
    }

    fn purpose(&self) -> &'static str {
        "Asks many questions."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        if self.has_started.swap(true, Ordering::Relaxed) {
            Runnable::run(&self.one, run, task).await
        } else {
            Runnable::run(&self.many, run, task).await
        }
    }
}

/// No request was rejected, at least 95 % of the allowance was used, and no run waited for more than twice its share.
fn used(observed: &Observation, per_minute: u32, cost: fn(&CallRecord) -> u64) -> Result<(), String> {
    expect_count(observed.calls.iter().filter(|call| call.status == 429).count(), 0, "rejections")?;
    expect_count(observed.failed_with(ModelErrorKind::RateLimited), 0, "calls without a place in the queue")?;
    expect_count(observed.ends.iter().filter(|end| end.name() != "finished").count(), 0, "unfinished runs")?;
    let taken: u64 = observed.calls.iter().map(cost).sum();
    let last = observed.calls.iter().map(|call| call.arrived).max().unwrap_or_default();
    let allowed = f64::from(per_minute) * (1.0 + last.as_secs_f64() / 60.0);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let share = taken as f64 / allowed;
    if share < 0.95 {
        return Err(format!("{taken} of {allowed} were used, a share of {share}"));
    }
    let largest = observed.calls.iter().map(cost).max().unwrap_or_default();
    // One call of each run at the steady rate.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let round = Duration::from_secs_f64(f64::from(RUNS) * largest as f64 * 60.0 / f64::from(per_minute));
    let waits = observed.events.iter().filter_map(|entry| match entry.event {
        Event::RateLimitWaited { waited, .. } if &*entry.agent == "asker" => Some(waited),
        _ => None,
    });
    let longest = waits.max().ok_or("no run waited")?;
    if longest > round * 2 { Err(format!("a run waited for {longest:?}, but a round takes {round:?}")) } else { Ok(()) }
}
