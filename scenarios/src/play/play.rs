//! Plays one scenario in one dialect, with a control run at the same time, and records both.

use std::{convert::Infallible, fs, sync::Arc, time::Duration};

use brigade_core::{
    Budget, Cap, Event, Ledger, ModelId, Money, Observer, Outcome, Pricing, Run, RunError, Runnable, ServedCall, Task,
    TraceId,
};
use brigade_observability::{LogTarget, Logging, PriceBook};
use brigade_rehearsal::{CallRecord, Latency, WireDialect};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Instant};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    play::virtual_time::in_virtual_time,
    scenario::environment::{CANARY, Environment, account},
    scenario::observation::{Control, EventRecorder, Observation, ObservedEnd, recorded_usage},
    scenario::scenario::{Caller, Scenario},
};

/// Everything at DEBUG except the provider's own lines, which do not belong to a run.
const LEVEL: &str = "debug,brigade_rehearsal=off";

/// How long connections and tasks may take to close after the end. The client reads the rest of a response for up to a
/// second after its answer is complete.
const SETTLING: Duration = Duration::from_millis(1_250);

/// How often the spending of a limited key is sampled, in addition to every event.
const SAMPLING: Duration = Duration::from_millis(50);

/// Longer than any scenario.
const NEVER: Duration = Duration::from_hours(24);

/// Plays a scenario in one dialect. The same seed gives the same events.
///
/// # Errors
/// If the scenario cannot be set up. A failure within the scenario is part of the observation.
pub fn play(scenario: &Scenario, dialect: WireDialect, seed: u64) -> anyhow::Result<Observation> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let logging = Logging::new().level(LEVEL).variable(None).target(LogTarget::File(path.clone()));
    let (layer, handle) = logging.layer()?;
    let guard = tracing_subscriber::registry().with(layer).set_default();
    let mut found = in_virtual_time(async {
        let found = run_scenario(scenario, dialect, seed).await;
        // Tasks that end by themselves get the time to do so.
        tokio::time::sleep(SETTLING).await;
        found.map(|found| Observation {
            tasks_left: Handle::current().metrics().num_alive_tasks().saturating_sub(1),
            ..found
        })
    })??;
    drop(guard);
    handle.flush();
    found.log_lines = fs::read_to_string(path)?.lines().map(str::to_owned).collect();
    Ok(found)
}

async fn run_scenario(scenario: &Scenario, dialect: WireDialect, seed: u64) -> anyhow::Result<Observation> {
    let environment = Environment::start(scenario, dialect, seed).await?;
    let team = (scenario.team)(&environment)?;
    let key = Ledger::root("key", budget(key_cents(scenario)));
    let callers = Callers { scenario, team: &*team, key: &key, recorder: Arc::new(EventRecorder::new()), seed };
    let samples = Arc::new(KeySamples { key: key.clone(), owed: Mutex::default() });
    let started = Instant::now();
    let watched = async {
        tokio::select! {
            ends = callers.run_all(&samples) => (ends, started.elapsed()),
            ended = samples.take_repeatedly(key_cents(scenario).is_some()) => match ended {},
        }
    };
    let (control, (ends, elapsed)) = tokio::join!(control(dialect, seed), watched);
    // A call that the provider has not finished by then is recorded as open.
    let _ = tokio::time::timeout(SETTLING, environment.call_log().wait_until_idle()).await;
    let calls = environment.call_log().calls();
    let found = Observation {
        dialect,
        ends,
        traces: callers.traces(),
        elapsed,
        events: callers.recorder.events(),
        billed: billed(&calls, environment.prices()),
        calls,
        spending: key.spending(),
        outstanding: key.outstanding(),
        reserved: key.reserved(),
        samples: samples.owed.lock().clone(),
        tool_runs: environment.tools().runs(),
        tasks_left: 0,
        log_lines: Vec::new(),
        control: control?,
    };
    drop(team);
    environment.shutdown().await;
    Ok(found)
}

/// Starts the runs of a scenario.
struct Callers<'a> {
    scenario: &'a Scenario,
    team: &'a dyn Runnable,
    key: &'a Ledger,
    recorder: Arc<EventRecorder>,
    seed: u64,
}

impl Callers<'_> {
    async fn run_all(&self, samples: &Arc<KeySamples>) -> Vec<ObservedEnd> {
        match self.scenario.caller {
            Caller::Asks { times, every, run_cents, .. } => {
                let asks = (0..times).map(|number| async move {
                    tokio::time::sleep(every * number).await;
                    let run = self.run(number, run_cents, samples);
                    ObservedEnd::of(&self.ask(&run, number).await)
                });
                join_all(asks).await
            }
            Caller::Disconnects(after) => {
                let run = self.run(0, None, samples);
                let asked = tokio::time::timeout(after, self.ask(&run, 0)).await;
                vec![asked.map_or(ObservedEnd::Dropped, |result| ObservedEnd::of(&result))]
            }
            Caller::Cancels(after) => {
                let run = self.run(0, None, samples);
                let cancel = async {
                    tokio::time::sleep(after).await;
                    run.cancel();
                };
                let (result, ()) = tokio::join!(self.ask(&run, 0), cancel);
                vec![ObservedEnd::of(&result)]
            }
        }
    }

    async fn ask(&self, run: &Run, number: u32) -> Result<Outcome, RunError> {
        self.team.run(run, Task::from(format!("Question {number}: what is a {CANARY}?"))).await
    }

    fn run(&self, number: u32, cents: Option<u32>, samples: &Arc<KeySamples>) -> Run {
        let model_calls = self.scenario.model_calls.map(Cap::hard);
        let mut budget = budget(cents);
        budget.wall = self.scenario.wall;
        budget.model_calls = model_calls;
        let builder = Run::builder().account(self.key.clone()).budget(budget).deltas(self.scenario.streams);
        let builder = builder.observer(Arc::clone(&self.recorder) as _).observer(Arc::clone(samples) as _);
        builder.trace(trace(self.seed, number)).build()
    }

    fn traces(&self) -> Vec<TraceId> {
        let times = if let Caller::Asks { times, .. } = self.scenario.caller { times } else { 1 };
        (0..times).map(|number| trace(self.seed, number)).collect()
    }
}

/// Samples of the spending plus reservations of a key.
#[derive(Debug)]
struct KeySamples {
    key: Ledger,
    owed: Mutex<Vec<Money>>,
}

impl KeySamples {
    async fn take_repeatedly(&self, wanted: bool) -> Infallible {
        let pause = if wanted { SAMPLING } else { NEVER };
        loop {
            tokio::time::sleep(pause).await;
            self.take();
        }
    }

    fn take(&self) {
        let owed = self.key.spending().total() + self.key.reserved();
        self.owed.lock().push(owed);
    }
}

impl Observer for KeySamples {
    fn on_event(&self, _: &Run, _: &Event) {
        self.take();
    }
}

/// Runs the control: two turns and a tool call, with accounts and a provider of its own.
async fn control(dialect: WireDialect, seed: u64) -> anyhow::Result<Control> {
    let second = Duration::from_secs(1);
    let scenario = Scenario::new("control", "nothing fails").with_tool();
    let scenario = Scenario { latency: Latency::new(second, Duration::ZERO), ..scenario };
    let environment = Environment::start(&scenario, dialect, seed).await?;
    let team = (scenario.team)(&environment)?;
    let trace = TraceId::from_bits(u128::from(seed) << 8 | 0xc0de << 96).unwrap_or_else(TraceId::random);
    let run = Run::builder().trace(trace).deltas(true).build();
    let started = Instant::now();
    let result = team.run(&run, Task::from("What is nothing?")).await;
    let elapsed = started.elapsed();
    let _ = tokio::time::timeout(SETTLING, environment.call_log().wait_until_idle()).await;
    let spent = run.ledger().spending();
    let control = Control {
        ended: ObservedEnd::of(&result),
        elapsed,
        spent: spent.charged,
        billed: billed(&environment.call_log().calls(), environment.prices()),
    };
    drop(team);
    environment.shutdown().await;
    Ok(control)
}

/// The sum of what the provider bills, at our prices.
fn billed(calls: &[CallRecord], prices: &PriceBook) -> Money {
    calls.iter().fold(Money::ZERO, |sum, call| sum + cost(call, prices).unwrap_or_default())
}

fn cost(call: &CallRecord, prices: &PriceBook) -> Option<Money> {
    let asked = ModelId::new(account(call.dialect, "main"), call.model.as_str());
    let served = ServedCall::new(&asked);
    if call.usage == brigade_rehearsal::BilledUsage::default() {
        return None;
    }
    prices.cost(&served, &recorded_usage(call))
}

fn key_cents(scenario: &Scenario) -> Option<u32> {
    if let Caller::Asks { key_cents, .. } = scenario.caller { key_cents } else { None }
}

fn budget(cents: Option<u32>) -> Budget {
    let limited = |cents: u32| Budget::unlimited().money(Money::from_nano(i64::from(cents) * 10_000_000));
    cents.map_or_else(Budget::unlimited, limited)
}

/// A trace id whose short form differs between runs and is the same for the same seed.
fn trace(seed: u64, number: u32) -> TraceId {
    let bits = u128::from(number + 1) << 96 | u128::from(seed) << 8 | 1;
    TraceId::from_bits(bits).unwrap_or_else(TraceId::random)
}
