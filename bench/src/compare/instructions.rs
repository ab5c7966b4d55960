//! Instructions per model call, counted by callgrind. An alarm, not an aim: a change that costs 5 % more, or less, than
//! before should be seen by the person who makes it.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::compare::building::{self, Building};
use crate::compare::callgrind;
use crate::compare::contender::{self, Batch, Contender};
use crate::process::provider::{self, Provider};
use crate::workload::Workload;

/// Whether the counts are checked or written.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Writes the counts to `bench/instructions.json`, for changes that are intended.
    #[arg(long)]
    update: bool,
}

/// What is counted. A store is left out, because its share depends on how many calls share a commit.
const COUNTED: [(Contender, &str); 2] = [(Contender::Wrappers, "wrappers"), (Contender::Production, "production")];

const TOLERANCE: f64 = 0.05;
/// The count of this form includes the thread that writes the log, which waits in another way on a busy machine: two counts
/// of the same program differed by 8 %.
const PRODUCTION_TOLERANCE: f64 = 0.15;

/// The model calls of a short and a long process. The difference is free of the start and the warm-up. The debug build, in
/// which continuous integration counts, takes twenty times as many instructions.
const CALLS: [u64; 2] = if cfg!(debug_assertions) { [11, 44] } else { [220, 1_320] };

/// The build that is counted.
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "dist" };

/// Thousands of instructions per model call as measured last, by profile, workload and form.
type Expected = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;

/// All counts.
#[derive(Debug, Serialize)]
pub(crate) struct Instructions {
    counts: Vec<Count>,
    building: Building,
}

#[derive(Debug, Serialize)]
struct Count {
    workload: Workload,
    form: &'static str,
    /// Thousands per model call.
    counted: f64,
    expected: Option<f64>,
}

/// Counts all workloads. Needs `valgrind`.
pub(crate) fn measure() -> Result<Instructions> {
    let all_expected = read()?;
    let mut counts = Vec::new();
    for workload in Workload::ALL {
        for (contender, form) in COUNTED {
            let [short, long] = CALLS.map(|calls| calls.div_ceil(workload.calls_per_run()));
            let more = count(workload, contender, long)? - count(workload, contender, short)?;
            let calls = f64::from(u32::try_from((long - short) * workload.calls_per_run())?);
            let expected = all_expected.get(PROFILE).and_then(|of| of.get(workload.name())?.get(form)).copied();
            counts.push(Count { workload, form, counted: more / calls / 1_000.0, expected });
        }
    }
    Ok(Instructions { counts, building: building::measure()? })
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

fn read() -> Result<Expected> {
    let path = path();
    let json = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&json).with_context(|| format!("{} is not valid", path.display()))
}

impl Instructions {
    /// Writes the counts, or fails if one is out of its bounds.
    pub(crate) fn finish(&self, options: &Options) -> Result<()> {
        self.building.check()?;
        if options.update { self.update() } else { self.check() }
    }

    fn update(&self) -> Result<()> {
        let mut expected = read()?;
        for Count { workload, form, counted, .. } in &self.counts {
            let profile = expected.entry(PROFILE.to_owned()).or_default();
            let counted = (counted * 10.0).round() / 10.0;
            profile.entry(workload.name().to_owned()).or_default().insert((*form).to_owned(), counted);
        }
        Ok(fs::write(path(), serde_json::to_string_pretty(&expected)? + "\n")?)
    }

    fn check(&self) -> Result<()> {
        let changed: Vec<_> =
            self.counts.iter().filter(|count| !count.is_as_expected()).map(ToString::to_string).collect();
        let program = std::env::current_exe()?;
        ensure!(
            changed.is_empty(),
            "instructions per model call differ by more than {:.0} % (production: {:.0} %) from bench/instructions.json; look for the cause, and \
             if the change is intended, write the new numbers with `{} instructions --update`:\n{}",
            TOLERANCE * 100.0,
            PRODUCTION_TOLERANCE * 100.0,
            program.display(),
            changed.join("\n")
        );
        Ok(())
    }
}

impl Count {
    /// A form without an expected count in this profile passes; `--update` adds it.
    fn is_as_expected(&self) -> bool {
        let tolerance = if self.form == "production" { PRODUCTION_TOLERANCE } else { TOLERANCE };
        self.expected.is_none_or(|expected| (self.counted / expected - 1.0).abs() <= tolerance)
    }
}

impl Display for Instructions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "thousands of instructions per model call")?;
        self.counts.iter().try_for_each(|count| writeln!(f, "{count}"))?;
        write!(f, "{}", self.building)
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { workload, form, counted, expected } = self;
        write!(f, "{:<14}{form:<12}{counted:>9.1}", workload.name())?;
        match expected {
            Some(expected) => {
                write!(f, "   expected {expected:>9.1} ({:+.1} %)", (counted / expected - 1.0) * 100.0)
            }
            None => write!(f, "   not in bench/instructions.json"),
        }
    }
}

/// The instructions of a process that does this many runs, one after the other.
fn count(workload: Workload, contender: Contender, runs: u64) -> Result<f64> {
    let provider = Provider::start(provider::Options::counting())?;
    let options = contender::Options::new(contender, workload, provider.base_url());
    callgrind::instructions(
        contender::PROGRAM,
        &options.arguments()?,
        &serde_json::to_string(&Batch { runs, in_flight: 1 })?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(counted: [f64; N]) -> Instructions {
        let of = |counted| Count { workload: Workload::Chat, form: "wrappers", counted, expected: Some(100.0) };
        Instructions { counts: counted.map(of).into(), building: Building { of_few: 1.0, of_many: 1.0 } }
    }

    #[test]
    fn a_count_that_is_too_high_or_too_low_fails_with_the_command_that_updates_it() {
        assert!(counts([96.0, 104.0]).check().is_ok());
        let error = counts([94.0, 100.0, 106.0]).check().unwrap_err().to_string();
        assert!(error.contains(" 94.0 ") && error.contains(" 106.0 ") && !error.contains("  100.0   "), "{error}");
        assert!(error.contains("instructions --update"), "{error}");
    }

    #[test]
    fn every_count_of_continuous_integration_has_an_expected_number() {
        let expected = read().unwrap();
        for workload in Workload::ALL {
            for (_, form) in COUNTED {
                assert!(expected["dev"][workload.name()][form] > 0.0, "{workload:?} {form}");
            }
        }
    }
}
