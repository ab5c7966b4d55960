//! Instructions per model call, counted by callgrind. An alarm, not an aim: a change that costs 5 % more, or less, than
//! before should be seen by the person who makes it.

use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::compare::contender::{Batch, Contender};
use crate::process::provider::{self, Provider};
use crate::workload::Workload;

/// Thousands of instructions per model call with the wrappers, as measured last. A number that differs by more than the
/// tolerance fails the check; if the change is intended, write the new number here. A store is left out, because its
/// share depends on how many calls share a commit.
const EXPECTED: [(Workload, Contender, Option<f64>); 6] = [
    (Workload::Chat, Contender::Wrappers, Some(266.6)),
    (Workload::Chat, Contender::Production, None),
    (Workload::ToolLoop, Contender::Wrappers, Some(309.8)),
    (Workload::ToolLoop, Contender::Production, None),
    (Workload::Supervisor, Contender::Wrappers, Some(321.0)),
    (Workload::Supervisor, Contender::Production, None),
];

const TOLERANCE: f64 = 0.05;

/// The difference between a long and a short process is free of the start and the warm-up.
const SHORT_RUNS: u64 = 20;
const LONG_RUNS: u64 = 120;

/// All counts.
#[derive(Debug, Serialize)]
pub(crate) struct Instructions(Vec<Count>);

#[derive(Debug, Serialize)]
struct Count {
    workload: Workload,
    form: String,
    /// Thousands per model call.
    counted: f64,
    expected: Option<f64>,
}

/// Counts all workloads. Needs `valgrind`.
pub(crate) fn measure() -> Result<Instructions> {
    let counts = EXPECTED.map(|(workload, contender, expected)| {
        let runs = LONG_RUNS - SHORT_RUNS;
        let more = count(workload, contender, LONG_RUNS)? - count(workload, contender, SHORT_RUNS)?;
        let counted = more / f64::from(u32::try_from(runs * workload.calls_per_run())?) / 1_000.0;
        anyhow::Ok(Count { workload, form: contender.name()?, counted, expected })
    });
    Ok(Instructions(counts.into_iter().collect::<Result<_>>()?))
}

impl Instructions {
    /// Fails if a count is out of its bounds.
    pub(crate) fn check(&self) -> Result<()> {
        let changed: Vec<_> = self.0.iter().filter(|count| !count.is_as_expected()).map(ToString::to_string).collect();
        ensure!(
            changed.is_empty(),
            "instructions per call changed by more than {:.0} %; if that is intended, write the new numbers into \
             bench/src/compare/instructions.rs:\n{}",
            TOLERANCE * 100.0,
            changed.join("\n")
        );
        Ok(())
    }
}

impl Count {
    fn is_as_expected(&self) -> bool {
        self.expected.is_none_or(|expected| (self.counted / expected - 1.0).abs() <= TOLERANCE)
    }
}

impl Display for Instructions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|count| writeln!(f, "{count}"))
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { workload, form, counted, expected } = self;
        write!(f, "{:<14}{form:<12}{counted:>8.1} thousand instructions per call", workload.name())?;
        expected.map_or(Ok(()), |expected| write!(f, " (expected {expected:.1})"))
    }
}

/// The instructions of a process that does this many runs, one after the other.
fn count(workload: Workload, contender: Contender, runs: u64) -> Result<f64> {
    let provider = Provider::start(provider::Options::counting())?;
    let program = std::env::current_exe()?.with_file_name("brigade-bench-contender");
    let mut process = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([&contender.name()?, workload.name(), provider.base_url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start valgrind; install it")?;
    let mut input = process.stdin.take().context("the process has no standard input")?;
    writeln!(input, "{}", serde_json::to_string(&Batch { runs, in_flight: 1 })?)?;
    drop(input);
    let output = process.wait_with_output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the process failed under valgrind:\n{report}");
    }
    let collected =
        report.lines().find_map(|line| line.split_once("Collected : ")).context("callgrind counted nothing")?;
    Ok(collected.1.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_too_high_or_too_low_is_found() {
        let of = |counted| Count { workload: Workload::Chat, form: "wrappers".into(), counted, expected: Some(100.0) };
        assert!(Instructions(vec![of(96.0), of(104.0)]).check().is_ok());
        let error = Instructions(vec![of(94.0), of(100.0), of(106.0)]).check().unwrap_err().to_string();
        assert!(error.contains("94.0") && error.contains("106.0") && !error.contains("100.0 thousand"), "{error}");
    }
}
