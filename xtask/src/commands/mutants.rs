//! `cargo xtask mutants`: changes the code in many small ways, and fails if the tests notice too few of them.

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use xshell::Shell;

use crate::source::workspace::Workspace;
use crate::tools::cargo::cargo;
use crate::tools::programs;

const VERSION: &str = "27.1.0";

/// The percentage of changes that the tests must notice. Some changes make no difference that a test could see.
const LEAST_CAUGHT: usize = 95;

/// Several times the tests of the slowest of these crates. A change that makes a loop endless is noticed by it.
const TEST_SECONDS: &str = "120";

/// The options of `cargo xtask mutants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this code. May be repeated; all of it by default, which takes hours.
    #[arg(long, value_enum)]
    only: Vec<Area>,
    /// A part of the changes, such as `0/8`, for several machines or nights.
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Change the files of this working tree and put them back, instead of a copy of it that is compiled from scratch. For a
    /// tree without other changes that is not used meanwhile.
    #[arg(long)]
    in_place: bool,
}

/// Code in which a wrong number costs money, or loses an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Area {
    /// The ledger, and the metering of models.
    Money,
    /// Limits, retries, breakers and timeouts.
    Resilience,
    /// The decoders of the providers' responses.
    Decoders,
}

/// The counts in the report of cargo-mutants.
#[derive(Debug, Deserialize)]
struct Report {
    caught: usize,
    timeout: usize,
    missed: usize,
}

impl Area {
    const fn package(self) -> &'static str {
        match self {
            Self::Money => "brigade-core",
            Self::Resilience => "brigade-resilience",
            Self::Decoders => "brigade-providers",
        }
    }

    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Money => &[
                "crates/core/src/money/**",
                "crates/core/src/model/{attempt,metered,pricing}.rs",
                "crates/core/src/chat/token_bound.rs",
            ],
            Self::Resilience => &["crates/resilience/src/**"],
            Self::Decoders => &[
                "crates/providers/src/*/{decode,usage,tool_call_deltas,content_block}.rs",
                "crates/providers/src/http/{sse,rate_limits,response_head,provider_error,error_rules,suggested_wait}.rs",
                "crates/providers/src/protocol/{response_reader,tool_calls,finished_reply,think_tags}.rs",
            ],
        }
    }
}

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let target = Workspace::load(shell)?.target_directory;
    programs::prefer_installed(shell, &target)?;
    programs::install_with_cargo(shell, &target, "mutants", VERSION)?;
    let areas = if options.only.is_empty() { Area::value_variants() } else { &options.only };
    for area in areas {
        let output = target.join("mutants").join(area.package());
        shell.create_dir(&output)?;
        let run =
            cargo(shell, "mutants").args(["--package", area.package(), "--all-features", "--timeout", TEST_SECONDS]);
        let run = area.files().iter().fold(run, |run, files| run.args(["--file", files]));
        let run = options.shard.iter().fold(run, |run, shard| run.args(["--shard", shard]));
        let run = if options.in_place { run.arg("--in-place") } else { run };
        // Debug information only costs time here, and a failing property must not leave its example in the sources.
        let run = run.env("CARGO_PROFILE_DEV_DEBUG", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        // Doctests compile one by one, and hardly notice what the other tests do not.
        let run = run.arg("--output").arg(&output).args(["--", "--locked", "--lib", "--tests"]);
        // It fails for each change that no test noticed; the share below decides instead.
        run.ignore_status().run()?;
        let path = output.join("mutants.out/outcomes.json");
        let report = fs::read_to_string(&path).context("cargo-mutants has written no report")?;
        check(&serde_json::from_str(&report)?, area.package())?;
    }
    Ok(())
}

fn check(report: &Report, package: &str) -> Result<()> {
    let Report { caught, timeout, missed } = *report;
    let noticed = caught + timeout;
    println!("{package}: the tests notice {noticed} of {} changes", noticed + missed);
    ensure!(
        noticed * 100 >= (noticed + missed) * LEAST_CAUGHT,
        "the tests of {package} notice less than {LEAST_CAUGHT} % of the changes; target/mutants/{package}/mutants.out/missed.txt \
         lists the others"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninety_five_of_a_hundred_changes_must_be_noticed() {
        let report = |caught, timeout, missed| check(&Report { caught, timeout, missed }, "p").is_ok();
        assert!(report(95, 0, 5) && report(90, 5, 5) && report(0, 0, 0));
        assert!(!report(94, 0, 6) && !report(0, 0, 1));
    }
}
