//! `cargo xtask ci`: the steps, their order, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use xshell::Shell;

use crate::rules::{direction, tidy};
use crate::steps::{deny, deploy, examples, fuzz_api};
use crate::tools::cargo;

/// One step. They run in the order in which they stand here: cheap ones first, so that a small slip
/// shows early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting.
    Fmt,
    /// Direction of dependency, and one version of each dependency for all crates.
    Direction,
    /// Sizes, module docs, markers of unfinished work, white space.
    Tidy,
    /// Clippy on all targets and features, warnings denied.
    Clippy,
    /// Each library crate checked alone and without features.
    Alone,
    /// Unit and integration tests.
    Tests,
    /// Generated requests against the server, as its description allows and forbids them.
    Api,
    /// The ledger under all interleavings of its threads.
    Interleavings,
    /// Examples inside the documentation.
    Doctests,
    /// Every program of the examples folder.
    Examples,
    /// Documentation, warnings denied.
    Docs,
    /// Banned crates, licences, sources, and known vulnerabilities.
    Deny,
    /// The Dockerfile and the Kubernetes manifests, by their own linters.
    Deploy,
}

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the slow steps: alone, api, interleavings, examples, docs, deny, deploy.
    #[arg(long)]
    fast: bool,
    /// Run this step and no other; may be given several times.
    #[arg(long, value_name = "STEP", conflicts_with = "fast")]
    only: Vec<Step>,
}

impl Options {
    fn wants(&self, step: Step) -> bool {
        if self.only.is_empty() { !(self.fast && step.is_slow()) } else { self.only.contains(&step) }
    }
}

impl Step {
    /// Steps that compile everything once more, take as long as one lets them, or need a tool that must be installed.
    const fn is_slow(self) -> bool {
        matches!(
            self,
            Self::Alone | Self::Api | Self::Interleavings | Self::Examples | Self::Docs | Self::Deny | Self::Deploy
        )
    }

    /// The name on the command line, and what the step checks.
    fn label(self) -> (String, String) {
        self.to_possible_value().map_or_else(Default::default, |value| {
            (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default())
        })
    }

    fn run(self, shell: &Shell) -> Result<()> {
        match self {
            Self::Fmt => cargo::fmt(shell),
            Self::Direction => direction::check(shell),
            Self::Tidy => tidy::check(shell),
            Self::Clippy => cargo::clippy(shell),
            Self::Alone => cargo::each_library_alone(shell),
            Self::Tests => cargo::tests(shell),
            Self::Api => fuzz_api::check(shell),
            Self::Interleavings => cargo::interleavings(shell),
            Self::Doctests => cargo::doctests(shell),
            Self::Examples => examples::run_all(shell),
            Self::Docs => cargo::docs(shell),
            Self::Deny => deny::check(shell),
            Self::Deploy => deploy::check(shell),
        }
    }
}

/// Runs the wanted steps and stops at the first that fails, with the command that repeats only it.
pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let mut times = Vec::new();
    let mut verdict = Ok(());
    for &step in Step::value_variants().iter().filter(|step| options.wants(**step)) {
        let (name, purpose) = step.label();
        println!("\n=== {name}: {purpose}");
        let start = Instant::now();
        verdict =
            step.run(shell).with_context(|| format!("{name} failed; repeat it with: cargo xtask ci --only {name}"));
        let time = start.elapsed();
        let mark = if verdict.is_ok() { "ok" } else { "FAILED" };
        println!("=== {name}: {mark} after {:.1} s", time.as_secs_f64());
        times.push((name, mark, time));
        if verdict.is_err() {
            break;
        }
    }
    print_table(&times);
    verdict
}

fn print_table(times: &[(String, &str, Duration)]) {
    println!();
    for (name, mark, time) in times {
        println!("{name:<10} {mark:<6} {:>7.1} s", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, _, time)| *time).sum();
    println!("{:<10} {:<6} {:>7.1} s", "total", "", total.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(options: &Options) -> Vec<Step> {
        Step::value_variants().iter().copied().filter(|step| options.wants(*step)).collect()
    }

    #[test]
    fn every_step_runs_by_default() {
        assert_eq!(wanted(&Options { fast: false, only: vec![] }), Step::value_variants());
    }

    #[test]
    fn fast_keeps_the_quick_steps_in_order() {
        let fast = wanted(&Options { fast: true, only: vec![] });
        assert_eq!(fast, [Step::Fmt, Step::Direction, Step::Tidy, Step::Clippy, Step::Tests, Step::Doctests]);
    }

    #[test]
    fn only_runs_a_slow_step_too() {
        assert_eq!(wanted(&Options { fast: false, only: vec![Step::Deny] }), [Step::Deny]);
    }

    #[test]
    fn every_step_says_what_it_checks() {
        assert!(Step::value_variants().iter().all(|step| !step.label().1.is_empty()));
    }
}
