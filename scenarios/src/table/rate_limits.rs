//! A crowd at a provider that enforces its rate limits: none is refused, all of the rate is used, nobody starves.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use brigade_core::{Agent, Event, ModelErrorKind, Outcome, Quorum, Run, RunError, Runnable, Task, Worker};
use brigade_rehearsal::{CallRecord, SimulatedRateLimits, WireDialect};

use super::connection::is;
use crate::{
    scenario::{Act, Bill, Ends, Scenario},
    seen::Seen,
    stage::Stage,
    tools::Behaviour,
};

/// So many work for one run; each of the others is a run of its own, and must not have to wait for all of those.
const TOGETHER: u32 = 56;
const ALONE: u32 = 8;
const RUNS: u32 = ALONE + 1;

/// Questions of each worker: more of them than the provider allows at once.
const TURNS: u32 = 8;

const REQUESTS_PER_MINUTE: u32 = 200;
/// Before tools, Anthropic puts instructions of its own: its prompts have some four times as many tokens.
const CHAT_TOKENS_PER_MINUTE: u32 = 20_000;
const ANTHROPIC_TOKENS_PER_MINUTE: u32 = 60_000;

const CHAT: &[WireDialect] = &[WireDialect::OpenaiChat];
const ANTHROPIC: &[WireDialect] = &[WireDialect::Anthropic];
const CHAT_AND_ANTHROPIC: &[WireDialect] = &[WireDialect::OpenaiChat, WireDialect::Anthropic];

pub(super) fn all() -> Vec<Scenario> {
    let requests = ((TOGETHER + ALONE) * TURNS) as usize;
    let crowd = |id, title, limits, check| {
        let scenario = Scenario::new(id, title).only(CHAT_AND_ANTHROPIC).script_of(looks_up_each_turn());
        // One after the other, so that the limits are known before most of them ask.
        Scenario { limits, model_calls: Some(u64::MAX), ..scenario }
            .team(|stage| Ok(Arc::new(Crowd::of(stage)?)))
            .act(Act::many(RUNS, Duration::from_millis(20)))
            .ends(Ends::Differ, requests..=requests)
            .takes(60_000..=300_000)
            .judged(Bill::Exact, check)
    };
    vec![
        crowd(
            "limits/requests",
            "64 workers under a limit of requests",
            SimulatedRateLimits { requests_per_minute: Some(REQUESTS_PER_MINUTE), tokens_per_minute: None },
            |seen| used(seen, REQUESTS_PER_MINUTE, |_| 1),
        ),
        crowd(
            "limits/tokens",
            "64 workers under a limit of tokens",
            SimulatedRateLimits { requests_per_minute: None, tokens_per_minute: Some(CHAT_TOKENS_PER_MINUTE) },
            |seen| used(seen, CHAT_TOKENS_PER_MINUTE, |call| call.usage.input),
        )
        .only(CHAT),
        crowd(
            "limits/long-tokens",
            "the same with prompts that are longer than they look",
            SimulatedRateLimits { requests_per_minute: None, tokens_per_minute: Some(ANTHROPIC_TOKENS_PER_MINUTE) },
            |seen| used(seen, ANTHROPIC_TOKENS_PER_MINUTE, |call| call.usage.input),
        )
        .only(ANTHROPIC),
    ]
}

/// A tool call in each turn but the last.
fn looks_up_each_turn() -> String {
    let mut script = String::new();
    for turn in 0..TURNS - 1 {
        let call = format!("{{ name = \"lookup\", arguments = '{{\"query\":\"part {turn}\"}}' }}");
        // Writing to a string cannot fail.
        let _ = writeln!(script, "[[rule]]\nwhen = {{ turn = {turn} }}\nanswer = {{ tool_calls = [{call}] }}");
    }
    script + "[[rule]]\nanswer = { text = \"one two three four five six $CANARY\" }\n"
}

/// Gives the first run to many workers at once, and each further one to a single agent.
#[derive(Debug)]
struct Crowd {
    many: Quorum,
    one: Agent,
    many_asked: AtomicBool,
}

impl Crowd {
    fn of(stage: &Stage) -> anyhow::Result<Self> {
        let agent = |name: &str| -> anyhow::Result<Agent> {
            Ok(stage.agent(name)?.tool(stage.tools().tool("lookup", Behaviour::Answers)?))
        };
        let mut many = Quorum::new("asker").parallel(TOGETHER as usize).at_least(TOGETHER as usize);
        for number in 0..TOGETHER {
            let worker = Worker::new(agent(&format!("worker-{number}"))?);
            many = many.worker(worker.timeout(Duration::from_hours(1)));
        }
        Ok(Self { many, one: agent("asker")?, many_asked: AtomicBool::new(false) })
    }
}

#[async_trait]
impl Runnable for Crowd {
    fn name(&self) -> &Arc<str> {
        self.one.name()
    }

    fn purpose(&self) -> &'static str {
        "Asks and asks."
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        if self.many_asked.swap(true, Ordering::Relaxed) {
            Runnable::run(&self.one, run, task).await
        } else {
            Runnable::run(&self.many, run, task).await
        }
    }
}

/// Nobody was refused, at least 95 % of what was allowed was used, and no run waited for longer than twice its share.
fn used(seen: &Seen, per_minute: u32, cost: fn(&CallRecord) -> u64) -> Result<(), String> {
    is(seen.calls.iter().filter(|call| call.status == 429).count(), 0, "refusals")?;
    is(seen.failed_with(ModelErrorKind::RateLimited), 0, "calls that could not wait")?;
    is(seen.ends.iter().filter(|end| end.name() != "finished").count(), 0, "unfinished runs")?;
    let taken: u64 = seen.calls.iter().map(cost).sum();
    let last = seen.calls.iter().map(|call| call.arrived).max().unwrap_or_default();
    let allowed = f64::from(per_minute) * (1.0 + last.as_secs_f64() / 60.0);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let share = taken as f64 / allowed;
    if share < 0.95 {
        return Err(format!("{taken} of {allowed} were used, which is {share}"));
    }
    let largest = seen.calls.iter().map(cost).max().unwrap_or_default();
    // One call of each run at the steady rate.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let round = Duration::from_secs_f64(f64::from(RUNS) * largest as f64 * 60.0 / f64::from(per_minute));
    let waits = seen.entries.iter().filter_map(|entry| match entry.event {
        Event::RateLimitWaited { waited, .. } if &*entry.agent == "asker" => Some(waited),
        _ => None,
    });
    let longest = waits.max().ok_or("nobody waited")?;
    if longest > round * 2 { Err(format!("a run waited for {longest:?}, and a round takes {round:?}")) } else { Ok(()) }
}
