//! The store alone, with as much data as years of use produce.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{durable, history, notes, sessions};
use crate::statistics::quantile;

/// Options of `cargo xtask bench store`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder for the databases, which are deleted afterwards. It should be on a disk, not in memory.
    #[arg(long, default_value = ".")]
    folder: std::path::PathBuf,
    /// Only durable runs: the cost of a step, and many runs that wait.
    #[arg(long)]
    durable: bool,
}

/// All measurements.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Numbers {
    numbers: Vec<Number>,
}

/// What one operation takes.
#[derive(Debug, Serialize)]
struct Number {
    name: String,
    /// `ms`, `MiB`, or `×` for a ratio.
    unit: &'static str,
    p50: f64,
    p99: f64,
    /// The target for the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// How much data is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    pub(super) exchanges: usize,
    pub(super) notes: usize,
    /// Each has 22 events.
    pub(super) runs: usize,
    /// Durable runs that wait.
    pub(super) waiting: usize,
    pub(super) repetitions: usize,
}

impl Amount {
    const FULL: Self = Self { exchanges: 5_000, notes: 100_000, runs: 45_455, waiting: 20_000, repetitions: 200 };
    const QUICK: Self = Self { exchanges: 200, notes: 1_000, runs: 500, waiting: 500, repetitions: 20 };
}

/// Measures everything.
pub(crate) fn measure(options: &Options, quick: bool) -> Result<Numbers> {
    let amount = if quick { Amount::QUICK } else { Amount::FULL };
    let folder = tempfile::tempdir_in(&options.folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut numbers = Numbers::default();
    runtime.block_on(async {
        durable::measure(&folder.path().join("durable.db"), amount, &mut numbers).await?;
        if options.durable {
            return Ok(());
        }
        sessions::measure(&folder.path().join("sessions.db"), amount, &mut numbers).await?;
        history::measure(&folder.path().join("history.db"), amount, &mut numbers).await?;
        notes::measure(&folder.path().join("notes.db"), amount, &mut numbers).await
    })?;
    Ok(numbers)
}

impl Numbers {
    pub(super) fn add(&mut self, name: impl Into<String>, times: &[Duration]) {
        self.numbers.push(Number::new(name.into(), "ms", &millis(times)));
    }

    /// The same with a target for the median.
    pub(super) fn add_at_most(&mut self, target: Duration, name: impl Into<String>, times: &[Duration]) {
        self.numbers.push(Number::new(name.into(), "ms", &millis(times)).at_most(target.as_secs_f64() * 1e3));
    }

    pub(super) fn add_ratio_at_most(&mut self, target: f64, name: impl Into<String>, ratios: &[f64]) {
        self.numbers.push(Number::new(name.into(), "×", ratios).at_most(target));
    }

    pub(super) fn add_mib_at_most(&mut self, target: f64, name: impl Into<String>, mib: f64) {
        self.numbers.push(Number::new(name.into(), "MiB", &[mib]).at_most(target));
    }
}

impl Number {
    fn new(name: String, unit: &'static str, values: &[f64]) -> Self {
        Self { name, unit, p50: quantile(values, 0.5), p99: quantile(values, 0.99), target: None, met: None }
    }

    fn at_most(self, target: f64) -> Self {
        Self { met: Some(self.p50 <= target), target: Some(target), ..self }
    }
}

fn millis(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

impl Display for Numbers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12}{:>12}", "p50", "p99")?;
        self.numbers.iter().try_for_each(|number| writeln!(f, "{number}"))
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, unit, p50, p99, target, met } = self;
        write!(f, "{p50:>12.4}{p99:>12.4} {unit:<3}  {name}")?;
        match (target, met) {
            (Some(most), Some(true)) => write!(f, "   ≤ {most}  met"),
            (Some(most), _) => write!(f, "   ≤ {most}  MISSED"),
            (None, _) => Ok(()),
        }
    }
}
