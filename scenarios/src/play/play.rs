//! Plays one scenario in one dialect, with a healthy run beside it, and writes down what was seen.

use std::{
    convert::Infallible,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use brigade_core::{
    Budget, Cap, Event, Ledger, ModelId, Money, Observer, Outcome, Pricing, Run, RunError, Runnable, ServedCall, Task,
    TraceId, Usage,
};
use brigade_observability::{LogTarget, Logging, PriceBook};
use brigade_rehearsal::{CallRecord, Latency, WireDialect};
use futures::future::join_all;
use tokio::{runtime::Handle, time::Instant};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    clock::in_virtual_time,
    scenario::{Act, Scenario},
    seen::{Control, Ended, Seen, Witness},
    stage::{CANARY, Stage, account},
};

/// Everything at DEBUG but the provider's own lines, which belong to no run.
const LEVEL: &str = "debug,brigade_rehearsal=off";

/// How long after the end the wire may take to settle.
const SETTLING: Duration = Duration::from_millis(250);

/// How often a limited key is looked at besides at every event.
const SAMPLING: Duration = Duration::from_millis(50);

/// Longer than any scenario.
const NEVER: Duration = Duration::from_hours(24);

/// Plays a scenario in one dialect. The same seed gives the same events.
///
/// # Errors
/// If the scenario cannot be set up; whatever goes wrong in it is in what was seen.
pub fn play(scenario: &Scenario, dialect: WireDialect, seed: u64) -> anyhow::Result<Seen> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let logging = Logging::new().level(LEVEL).variable(None).target(LogTarget::File(path.clone()));
    let (layer, _handle) = logging.layer()?;
    let guard = tracing_subscriber::registry().with(layer).set_default();
    let mut found = in_virtual_time(async {
        let found = perform(scenario, dialect, seed).await;
        // Whatever is to end by itself ends now.
        tokio::time::sleep(SETTLING).await;
        found.map(|found| Seen { tasks_left: Handle::current().metrics().num_alive_tasks().saturating_sub(1), ..found })
    })??;
    drop(guard);
    found.lines = fs::read_to_string(path)?.lines().map(str::to_owned).collect();
    Ok(found)
}

async fn perform(scenario: &Scenario, dialect: WireDialect, seed: u64) -> anyhow::Result<Seen> {
    let stage = Stage::set(scenario, dialect, seed).await?;
    let team = (scenario.team)(&stage)?;
    let key = Ledger::root("key", budget(key_cents(scenario)));
    let asking = Asking { scenario, team: &*team, key: &key, witness: Arc::new(Witness::new()), seed };
    let samples = Arc::new(Samples { key: key.clone(), owed: Mutex::default() });
    let started = Instant::now();
    let watched = async {
        tokio::select! {
            ends = asking.all(&samples) => (ends, started.elapsed()),
            ended = samples.keep_on(key_cents(scenario).is_some()) => match ended {},
        }
    };
    let (control, (ends, elapsed)) = tokio::join!(control(dialect, seed), watched);
    // A provider that is still at it shows as an open call.
    let _ = tokio::time::timeout(SETTLING, stage.call_log().wait_until_idle()).await;
    let calls = stage.call_log().calls();
    let found = Seen {
        dialect,
        ends,
        traces: asking.traces(),
        elapsed,
        entries: asking.witness.entries(),
        truth: billed(&calls, stage.prices()),
        calls,
        spending: key.spending(),
        outstanding: key.outstanding(),
        reserved: key.reserved(),
        samples: samples.owed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        tool_runs: stage.tools().runs(),
        tasks_left: 0,
        lines: Vec::new(),
        control: control?,
    };
    drop(team);
    stage.clear().await;
    Ok(found)
}

/// Whoever asks.
struct Asking<'a> {
    scenario: &'a Scenario,
    team: &'a dyn Runnable,
    key: &'a Ledger,
    witness: Arc<Witness>,
    seed: u64,
}

impl Asking<'_> {
    async fn all(&self, samples: &Arc<Samples>) -> Vec<Ended> {
        match self.scenario.act {
            Act::Ask { times, every, run_cents, .. } => {
                let asks = (0..times).map(|number| async move {
                    tokio::time::sleep(every * number).await;
                    let run = self.run(number, run_cents, samples);
                    Ended::of(&self.ask(&run, number).await)
                });
                join_all(asks).await
            }
            Act::HangUp(after) => {
                let run = self.run(0, None, samples);
                let asked = tokio::time::timeout(after, self.ask(&run, 0)).await;
                vec![asked.map_or(Ended::Dropped, |result| Ended::of(&result))]
            }
            Act::Cancel(after) => {
                let run = self.run(0, None, samples);
                let cancel = async {
                    tokio::time::sleep(after).await;
                    run.cancel();
                };
                let (result, ()) = tokio::join!(self.ask(&run, 0), cancel);
                vec![Ended::of(&result)]
            }
        }
    }

    async fn ask(&self, run: &Run, number: u32) -> Result<Outcome, RunError> {
        self.team.run(run, Task::from(format!("Question {number}: what is a {CANARY}?"))).await
    }

    fn run(&self, number: u32, cents: Option<u32>, samples: &Arc<Samples>) -> Run {
        let model_calls = self.scenario.model_calls.map(Cap::hard);
        let mut budget = budget(cents);
        budget.wall = self.scenario.wall;
        budget.model_calls = model_calls;
        let builder = Run::builder().account(self.key.clone()).budget(budget).deltas(self.scenario.streams);
        let builder = builder.observer(Arc::clone(&self.witness) as _).observer(Arc::clone(samples) as _);
        builder.trace(trace(self.seed, number)).build()
    }

    fn traces(&self) -> Vec<TraceId> {
        let times = if let Act::Ask { times, .. } = self.scenario.act { times } else { 1 };
        (0..times).map(|number| trace(self.seed, number)).collect()
    }
}

/// What a key owed each time somebody looked.
#[derive(Debug)]
struct Samples {
    key: Ledger,
    owed: Mutex<Vec<Money>>,
}

impl Samples {
    async fn keep_on(&self, wanted: bool) -> Infallible {
        let pause = if wanted { SAMPLING } else { NEVER };
        loop {
            tokio::time::sleep(pause).await;
            self.take();
        }
    }

    fn take(&self) {
        let owed = self.key.spending().total() + self.key.reserved();
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).push(owed);
    }
}

impl Observer for Samples {
    fn on_event(&self, _: &Run, _: &Event) {
        self.take();
    }
}

/// A healthy run with accounts and a provider of its own: two turns and a tool.
async fn control(dialect: WireDialect, seed: u64) -> anyhow::Result<Control> {
    let second = Duration::from_secs(1);
    let scenario = Scenario::new("control", "nothing goes wrong").with_tool();
    let scenario = Scenario { latency: Latency { first: second, between: Duration::ZERO }, ..scenario };
    let stage = Stage::set(&scenario, dialect, seed).await?;
    let team = (scenario.team)(&stage)?;
    let trace = TraceId::from_bits(u128::from(seed) << 8 | 0xc0de << 96).unwrap_or_else(TraceId::random);
    let run = Run::builder().trace(trace).deltas(true).build();
    let started = Instant::now();
    let result = team.run(&run, Task::from("What is nothing?")).await;
    let elapsed = started.elapsed();
    let _ = tokio::time::timeout(SETTLING, stage.call_log().wait_until_idle()).await;
    let spent = run.ledger().spending();
    let control = Control {
        ended: Ended::of(&result),
        elapsed,
        spent: spent.charged,
        truth: billed(&stage.call_log().calls(), stage.prices()),
    };
    drop(team);
    stage.clear().await;
    Ok(control)
}

/// What the provider bills at the prices that we know.
fn billed(calls: &[CallRecord], prices: &PriceBook) -> Money {
    calls.iter().fold(Money::ZERO, |sum, call| sum + cost(call, prices).unwrap_or_default())
}

fn cost(call: &CallRecord, prices: &PriceBook) -> Option<Money> {
    let asked = ModelId::new(account(call.dialect, "main"), call.model.as_str());
    let served = ServedCall { asked: &asked, model: None, service_tier: None };
    if call.usage == brigade_rehearsal::BilledUsage::default() {
        return None;
    }
    prices.cost(&served, &usage(call))
}

/// A provider's count in our form.
pub(crate) fn usage(call: &CallRecord) -> Usage {
    let some = |tokens: u64| (tokens > 0).then_some(tokens);
    Usage::new(call.usage.input, call.usage.output)
        .cache_read_tokens(some(call.usage.cached))
        .cache_write_tokens(some(call.usage.cache_write))
        .reasoning_tokens(some(call.usage.reasoning))
}

fn key_cents(scenario: &Scenario) -> Option<u32> {
    if let Act::Ask { key_cents, .. } = scenario.act { key_cents } else { None }
}

fn budget(cents: Option<u32>) -> Budget {
    let limited = |cents: u32| Budget::unlimited().money(Money::from_nano(i64::from(cents) * 10_000_000));
    cents.map_or_else(Budget::unlimited, limited)
}

/// The short form of a trace differs from run to run and is the same for the same seed.
fn trace(seed: u64, number: u32) -> TraceId {
    let bits = u128::from(number + 1) << 96 | u128::from(seed) << 8 | 1;
    TraceId::from_bits(bits).unwrap_or_else(TraceId::random)
}
