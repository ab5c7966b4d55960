//! The history of runs with their events.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use brigade_core::{Certainty, Charge, Event, FinishReason, ModelId, Money, Observer, Run, StopReason, Usage};
use brigade_store::{Database, History, RunFilter, RunStatus, UsageBy, UsageFilter};
use tokio::time::Instant;

use super::store::{Amount, Numbers};
use crate::process::resources::{cpu_time, thread_cpu_time};

const CALLS_PER_RUN: u32 = 5;

pub(super) async fn measure(path: &Path, amount: Amount, numbers: &mut Numbers) -> Result<()> {
    let history = History::start(Database::open(path)?, Event::clone).await?;
    write(&history, amount, numbers).await?;
    read(&history, amount, numbers).await
}

async fn write(history: &History, amount: Amount, numbers: &mut Numbers) -> Result<()> {
    let (observer, model) = (history.of_account("ada"), ModelId::new("acme", "large"));
    let (mut times, everything) = (Vec::new(), cpu_time());
    for number in 0..amount.runs {
        let run = Run::new();
        observer.on_event(&run, &Event::RunStarted);
        let start = thread_cpu_time();
        for _ in 0..CALLS_PER_RUN {
            call(&*observer, &run, &model);
        }
        times.push(thread_cpu_time().saturating_sub(start) / CALLS_PER_RUN);
        let (stop, usage, cost) = (StopReason::Finished, Usage::new(5_000, 500), Some(Money::from_nano(5_000_000)));
        observer.on_event(&run, &Event::RunEnded { stop, turns: 5, usage, cost, elapsed: Duration::from_secs(5) });
        if number.is_multiple_of(100) {
            history.flush().await?;
        }
    }
    history.flush().await?;
    anyhow::ensure!(history.lost() == 0, "{} events are missing", history.lost());
    let calls = CALLS_PER_RUN * u32::try_from(amount.runs)?;
    numbers.add_at_most(Duration::from_micros(10), "record a model call's four events, CPU of the run's task", &times);
    numbers.add(
        "the same with the work of other threads until it is on disk",
        &[cpu_time().saturating_sub(everything) / calls],
    );
    Ok(())
}

/// The four events of a model call.
fn call(observer: &dyn Observer, run: &Run, model: &ModelId) {
    let usage = Usage::new(1_000, 100);
    let cost = Some(Money::from_nano(1_000_000));
    let charge = Charge::new(Certainty::Charged, usage, cost);
    let elapsed = Duration::from_secs(1);
    observer.on_event(run, &Event::TurnStarted { turn: 1, model: model.clone() });
    observer.on_event(run, &Event::AttemptStarted { model: model.clone() });
    observer.on_event(run, &Event::AttemptEnded { model: model.clone(), error: None, charge: Some(charge), elapsed });
    let (model, stop) = (model.clone(), FinishReason::EndTurn);
    let (usage, served) = (Some(usage), None);
    observer.on_event(run, &Event::TurnEnded { turn: 1, model, served, usage, cost, stop, tool_calls: 0, elapsed });
}

async fn read(history: &History, amount: Amount, numbers: &mut Numbers) -> Result<()> {
    let (runs, events) = (history.runs(), amount.runs * (2 + 4 * CALLS_PER_RUN as usize));
    let all = RunFilter::default;
    let lists = [
        ("the last 50 runs", all()),
        ("the last 50 runs of a key", all().account("ada")),
        ("50 runs that ended", all().status(RunStatus::Ended)),
        ("interrupted runs (there are none)", all().status(RunStatus::Interrupted)),
    ];
    for (name, filter) in lists {
        let mut times = Vec::new();
        for _ in 0..amount.repetitions {
            let start = Instant::now();
            runs.list(filter.clone()).await?;
            times.push(start.elapsed());
        }
        numbers.add_at_most(Duration::from_millis(20), format!("list {name}, among {events} events"), &times);
    }
    let newest = runs.list(all()).await?;
    let trace = newest.last().map(|run| run.trace.clone()).unwrap_or_default();
    let (mut traces, mut usages) = (Vec::new(), Vec::new());
    for _ in 0..amount.repetitions {
        let start = Instant::now();
        runs.trace(&trace).await?;
        traces.push(start.elapsed());
        let start = Instant::now();
        runs.usage(UsageFilter::default(), &[UsageBy::Day, UsageBy::Account]).await?;
        usages.push(start.elapsed());
    }
    numbers.add("show one run with its events", &traces);
    numbers.add("sum usage up by day and key", &usages);
    Ok(())
}
