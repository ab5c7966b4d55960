//! The measured process: one contender with one workload.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::compare::hand_written::HandWritten;
use crate::compare::with_brigade::Brigade;
use crate::process::child::Child;
use crate::process::resources;
use crate::workload::Workload;

/// The implementations that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// Brigade's agents on a bare client.
    Bare,
    /// The same with the standard wrappers around each model.
    Wrappers,
    /// The same with a log at INFO, metrics and budgets, as a service runs it.
    Production,
    /// The same with a SQLite store, as the server runs it.
    Stored,
    HandWritten,
}

/// How much of Brigade takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bare,
    Wrappers,
    Production,
    Stored,
}

/// The contender and the workload of a process.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    contender: Contender,
    workload: Workload,
    base_url: String,
}

/// The measured program, in the folder of the benchmark.
pub(crate) const PROGRAM: &str = "brigade-bench-contender";

/// The command line of the measured program.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
}

/// A number of runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) runs: u64,
    /// How many of them run at the same time.
    pub(crate) in_flight: u64,
}

/// The time and memory of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BatchResult {
    pub(crate) cpu_ms: f64,
    pub(crate) elapsed_ms: f64,
    /// The latency of each run, in any order.
    pub(crate) latencies_ms: Vec<f64>,
    /// The peak of the process since its start.
    pub(crate) peak_memory_bytes: u64,
}

#[derive(Debug)]
enum Implementation {
    Brigade(Box<Brigade>),
    HandWritten(HandWritten),
}

impl Options {
    pub(crate) fn new(contender: Contender, workload: Workload, base_url: &str) -> Self {
        Self { contender, workload, base_url: base_url.to_owned() }
    }

    /// The command line of the process.
    pub(crate) fn arguments(&self) -> Result<[String; 3]> {
        Ok([self.contender.name()?, self.workload.name().to_owned(), self.base_url.clone()])
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Child> {
        Child::start(PROGRAM, &self.arguments()?)
    }

    async fn set_up(&self) -> Result<Implementation> {
        let form = match self.contender {
            Contender::HandWritten => return Ok(Implementation::HandWritten(HandWritten::new(&self.base_url)?)),
            Contender::Bare => Form::Bare,
            Contender::Wrappers => Form::Wrappers,
            Contender::Production => Form::Production,
            Contender::Stored => Form::Stored,
        };
        Ok(Implementation::Brigade(Box::new(Brigade::new(&self.base_url, self.workload, form).await?)))
    }
}

impl Contender {
    pub(crate) const ALL: [Self; 5] = [Self::Bare, Self::Wrappers, Self::Production, Self::Stored, Self::HandWritten];

    /// The name on the command line.
    pub(crate) fn name(self) -> Result<String> {
        Ok(self.to_possible_value().context("every contender has a name")?.get_name().to_owned())
    }
}

impl Implementation {
    async fn run(&self, workload: Workload) -> Result<String> {
        match self {
            Self::Brigade(team) => team.run(workload).await,
            Self::HandWritten(team) => team.run(workload).await,
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Brigade(team) => team.check(),
            Self::HandWritten(_) => Ok(()),
        }
    }
}

/// Runs batches until standard input ends.
pub(crate) fn serve(options: &Options) -> Result<()> {
    resources::raise_file_limit()?;
    let runtime = Runtime::new()?;
    let work = Arc::new(runtime.block_on(options.set_up())?);
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let batch = serde_json::from_str(&line?)?;
        let result = runtime.block_on(run_batch(&work, options.workload, batch))?;
        writeln!(output, "{}", serde_json::to_string(&result)?)?;
    }
    Ok(())
}

async fn run_batch(work: &Arc<Implementation>, workload: Workload, batch: Batch) -> Result<BatchResult> {
    let left = Arc::new(AtomicU64::new(batch.runs));
    let mut workers = JoinSet::new();
    let (cpu, started) = (resources::cpu_time(), Instant::now());
    for _ in 0..batch.in_flight {
        let (work, left) = (Arc::clone(work), Arc::clone(&left));
        workers.spawn(async move {
            let mut latencies_ms = Vec::new();
            while take_one(&left) {
                let started = Instant::now();
                work.run(workload).await?;
                latencies_ms.push(started.elapsed().as_secs_f64() * 1_000.0);
            }
            anyhow::Ok(latencies_ms)
        });
    }
    let mut latencies_ms = Vec::new();
    while let Some(done) = workers.join_next().await {
        latencies_ms.append(&mut done??);
    }
    work.check()?;
    Ok(BatchResult {
        cpu_ms: resources::cpu_time().saturating_sub(cpu).as_secs_f64() * 1_000.0,
        elapsed_ms: started.elapsed().as_secs_f64() * 1_000.0,
        latencies_ms,
        peak_memory_bytes: resources::peak_memory_bytes()?,
    })
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
