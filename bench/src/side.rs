//! A measured process: one contender, one scenario.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::brigade::Brigade;
use crate::child::Child;
use crate::floor::Floor;
use crate::resources;
use crate::scenario::Scenario;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contender {
    Brigade,
    Floor,
}

/// What a measured process does.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    contender: Contender,
    scenario: Scenario,
    base_url: String,
}

/// The command line of the measured program.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Work to be done at once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) runs: u64,
    /// How many of them at a time.
    pub(crate) in_flight: u64,
}

/// What a batch took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spent {
    pub(crate) cpu_ms: f64,
    pub(crate) elapsed_ms: f64,
    /// Of each run, in no order.
    pub(crate) latencies_ms: Vec<f64>,
    /// Of the process, from its start until now.
    pub(crate) peak_memory_bytes: u64,
}

#[derive(Debug)]
enum Work {
    Brigade(Box<Brigade>),
    Floor(Floor),
}

impl Options {
    pub(crate) fn new(contender: Contender, scenario: Scenario, base_url: &str) -> Self {
        Self { contender, scenario, base_url: base_url.to_owned() }
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Child> {
        let contender = self.contender.to_possible_value().context("every contender has a name")?;
        let arguments = [contender.get_name(), self.scenario.name(), &self.base_url];
        Child::start("brigade-bench-side", &arguments.map(str::to_owned))
    }

    fn set_up(&self) -> Result<Work> {
        Ok(match self.contender {
            Contender::Brigade => Work::Brigade(Box::new(Brigade::new(&self.base_url, self.scenario)?)),
            Contender::Floor => Work::Floor(Floor::new(&self.base_url)?),
        })
    }
}

impl Work {
    async fn run(&self, scenario: Scenario) -> Result<String> {
        match self {
            Self::Brigade(brigade) => brigade.run(scenario).await,
            Self::Floor(floor) => floor.run(scenario).await,
        }
    }
}

/// Works off batches until standard input ends.
pub(crate) fn serve(options: &Options) -> Result<()> {
    resources::raise_file_limit()?;
    let runtime = Runtime::new()?;
    let work = Arc::new(options.set_up()?);
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let batch = serde_json::from_str(&line?)?;
        let spent = runtime.block_on(work_off(&work, options.scenario, batch))?;
        writeln!(output, "{}", serde_json::to_string(&spent)?)?;
    }
    Ok(())
}

async fn work_off(work: &Arc<Work>, scenario: Scenario, batch: Batch) -> Result<Spent> {
    let left = Arc::new(AtomicU64::new(batch.runs));
    let mut workers = JoinSet::new();
    let (cpu, started) = (resources::cpu_time(), Instant::now());
    for _ in 0..batch.in_flight {
        let (work, left) = (Arc::clone(work), Arc::clone(&left));
        workers.spawn(async move {
            let mut latencies_ms = Vec::new();
            while take_one(&left) {
                let started = Instant::now();
                work.run(scenario).await?;
                latencies_ms.push(started.elapsed().as_secs_f64() * 1_000.0);
            }
            anyhow::Ok(latencies_ms)
        });
    }
    let mut latencies_ms = Vec::new();
    while let Some(done) = workers.join_next().await {
        latencies_ms.append(&mut done??);
    }
    Ok(Spent {
        cpu_ms: resources::cpu_time().saturating_sub(cpu).as_secs_f64() * 1_000.0,
        elapsed_ms: started.elapsed().as_secs_f64() * 1_000.0,
        latencies_ms,
        peak_memory_bytes: resources::peak_memory_bytes()?,
    })
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
