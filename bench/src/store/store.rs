//! The store alone, with as much data as years of use produce.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{history, notes, sessions};
use crate::statistics::quantile;

/// Options of `cargo xtask bench store`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder for the databases, which are deleted afterwards. It should be on a disk, not in memory.
    #[arg(long, default_value = ".")]
    folder: std::path::PathBuf,
}

/// All measurements.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Numbers {
    numbers: Vec<Number>,
}

/// The time of one operation, in milliseconds.
#[derive(Debug, Serialize)]
struct Number {
    name: String,
    p50_ms: f64,
    p99_ms: f64,
    /// The target for the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_ms: Option<f64>,
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
    pub(super) repetitions: usize,
}

impl Amount {
    const FULL: Self = Self { exchanges: 5_000, notes: 100_000, runs: 45_455, repetitions: 200 };
    const QUICK: Self = Self { exchanges: 200, notes: 1_000, runs: 500, repetitions: 20 };
}

/// Measures everything.
pub(crate) fn measure(options: &Options, quick: bool) -> Result<Numbers> {
    let amount = if quick { Amount::QUICK } else { Amount::FULL };
    let folder = tempfile::tempdir_in(&options.folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut numbers = Numbers::default();
    runtime.block_on(async {
        sessions::measure(&folder.path().join("sessions.db"), amount, &mut numbers).await?;
        history::measure(&folder.path().join("history.db"), amount, &mut numbers).await?;
        notes::measure(&folder.path().join("notes.db"), amount, &mut numbers).await
    })?;
    Ok(numbers)
}

impl Numbers {
    pub(super) fn add(&mut self, name: impl Into<String>, times: &[Duration]) {
        self.numbers.push(Number::new(name.into(), times));
    }

    /// The same with a target for the median.
    pub(super) fn add_at_most(&mut self, target: Duration, name: impl Into<String>, times: &[Duration]) {
        let number = Number::new(name.into(), times);
        let target_ms = millis(target);
        let met = Some(number.p50_ms <= target_ms);
        self.numbers.push(Number { target_ms: Some(target_ms), met, ..number });
    }
}

impl Number {
    fn new(name: String, times: &[Duration]) -> Self {
        let times: Vec<f64> = times.iter().copied().map(millis).collect();
        Self { name, p50_ms: quantile(&times, 0.5), p99_ms: quantile(&times, 0.99), target_ms: None, met: None }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Display for Numbers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12}{:>12}   milliseconds", "p50", "p99")?;
        self.numbers.iter().try_for_each(|number| writeln!(f, "{number}"))
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, p50_ms, p99_ms, target_ms, met } = self;
        write!(f, "{p50_ms:>12.4}{p99_ms:>12.4}   {name}")?;
        match (target_ms, met) {
            (Some(most), Some(true)) => write!(f, "   ≤ {most}  met"),
            (Some(most), _) => write!(f, "   ≤ {most}  MISSED"),
            (None, _) => Ok(()),
        }
    }
}
