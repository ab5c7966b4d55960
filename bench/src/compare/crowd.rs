//! Thousands of runs at once in one process, within a limit of open files.

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::compare::contender::{self, Batch, BatchResult, Contender};
use crate::process::provider::{self, Provider};
use crate::process::resources;
use crate::workload::Workload;

/// How many runs there are.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The number of runs at the same time.
    #[arg(long, default_value_t = 5_000)]
    runs: u64,
}

/// A client has a quarter of the files of its process in flight, so this many allow all runs at once.
const FILES_PER_RUN: u64 = 4;

/// Longer than the last of the runs takes to send its request, so that all are in flight at the same time.
const ANSWER_MS: u64 = if cfg!(debug_assertions) { 20_000 } else { 5_000 };

const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// The resources that the runs took.
#[derive(Debug, Serialize)]
pub(crate) struct Crowd {
    runs: u64,
    allowed_files: u64,
    most_files: u64,
    peak_mib: f64,
    kib_per_run: f64,
    seconds: f64,
}

/// Runs all at once, in the production form. Fails if a run fails, or if they were not in flight together.
pub(crate) fn measure(options: &Options) -> Result<Crowd> {
    let runs = options.runs;
    let allowed_files = runs * FILES_PER_RUN;
    resources::limit_files(allowed_files)?;
    let provider = Provider::start(provider::Options::slow(ANSWER_MS))?;
    let mut process = contender::Options::new(Contender::Production, Workload::Chat, provider.base_url()).start()?;
    let folder = format!("/proc/{}/fd", process.id());
    let before = resources::memory_mib(process.id())?;
    let is_done = AtomicBool::new(false);
    let (result, most_files) = thread::scope(|scope| {
        let sampler = scope.spawn(|| most_files(&folder, &is_done));
        let result: Result<BatchResult> = process.ask(&Batch { runs, in_flight: runs });
        is_done.store(true, Ordering::Relaxed);
        (result, sampler.join())
    });
    let Ok(most_files) = most_files else { bail!("the thread that counts the open files panicked") };
    let (result, most_files) = (result?, most_files?);
    ensure!(
        most_files >= runs,
        "only {most_files} files were open at once, so the {runs} runs were not in flight together"
    );
    let peak_mib = float(result.peak_memory_bytes)? / 1_048_576.0;
    let kib_per_run = (peak_mib - before) * 1_024.0 / float(runs)?;
    Ok(Crowd { runs, allowed_files, most_files, peak_mib, kib_per_run, seconds: result.elapsed_ms / 1_000.0 })
}

/// The most files that were open at once.
#[expect(clippy::disallowed_methods, reason = "this thread has no async runtime")]
fn most_files(folder: &str, is_done: &AtomicBool) -> Result<u64> {
    let mut most = 0;
    while !is_done.load(Ordering::Relaxed) {
        let count = fs::read_dir(folder).context("the measured process has ended early")?.count();
        most = most.max(count as u64);
        thread::sleep(SAMPLE_EVERY);
    }
    Ok(most)
}

fn float(value: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(value / 64)?) * 64.0)
}

impl Display for Crowd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { runs, allowed_files, most_files, peak_mib, kib_per_run, seconds } = self;
        writeln!(f, "{runs} runs at once, production form, answers after {} s", ANSWER_MS / 1_000)?;
        writeln!(f, "  files: {most_files} of {allowed_files} allowed")?;
        writeln!(f, "  peak memory: {peak_mib:.1} MiB, {kib_per_run:.1} KiB for each run")?;
        writeln!(f, "  all answered after {seconds:.1} s")
    }
}
