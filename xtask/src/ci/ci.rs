//! `cargo xtask ci`: the steps, their order, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use xshell::Shell;

use crate::book::book;
use crate::rules::{direction, tidy};
use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::steps::{build, deny, deploy, examples, fuzz_api, github, instructions, package, postgres};
use crate::tools::programs;

/// A step. They run in this order: cheap ones first, so that a small mistake shows early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting.
    Fmt,
    /// Direction of dependency, and one version of each dependency for all crates.
    Direction,
    /// Folders, public names, sizes, plain words, module docs, markers of unfinished work, white space.
    Tidy,
    /// Programs that the other steps run; installs what is missing.
    Programs,
    /// Packages of all libraries, as a registry takes them.
    Package,
    /// Clippy on all targets and features, warnings denied.
    Clippy,
    /// Each library crate checked alone and without features.
    Alone,
    /// Unit and integration tests.
    Tests,
    /// The tests of the store in PostgreSQL, with a server that they start.
    Postgres,
    /// Generated requests against the server, both valid and invalid by its OpenAPI description.
    Api,
    /// The console in a headless browser.
    Console,
    /// Real MCP servers and clients, and the official conformance suite.
    Mcp,
    /// The ledger with all interleavings of its threads.
    Interleavings,
    /// Instructions per model call, counted by callgrind in the debug build.
    Instructions,
    /// The examples in the documentation.
    Doctests,
    /// Every program in the examples folder.
    Examples,
    /// Documentation, warnings denied.
    Docs,
    /// The pages in docs/: the generated ones, links, and the site.
    Book,
    /// Banned crates, licences and sources.
    Deny,
    /// The Dockerfile and the Kubernetes manifests, by their own linters.
    Deploy,
    /// Workflows and forms for GitHub, by its schemas and two linters.
    Github,
}

/// The options of `cargo xtask ci`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the slow steps: programs, package, alone, postgres, api, console, mcp, interleavings, instructions,
    /// examples, docs, book, deny, deploy, github.
    #[arg(long)]
    fast: bool,
    /// Fail if any check was skipped, for example because a program or the network is missing.
    #[arg(long)]
    strict: bool,
    /// Run only this step; may be given several times.
    #[arg(long, value_name = "STEP", conflicts_with = "fast")]
    only: Vec<Step>,
}

impl Options {
    fn wants(&self, step: Step) -> bool {
        if self.only.is_empty() { !(self.fast && step.is_slow()) } else { self.only.contains(&step) }
    }
}

impl Step {
    /// Steps that compile everything again, run for a fixed time, or need a program that must be installed.
    const fn is_slow(self) -> bool {
        match self {
            Self::Fmt | Self::Direction | Self::Tidy | Self::Clippy | Self::Tests | Self::Doctests => false,
            Self::Programs
            | Self::Package
            | Self::Alone
            | Self::Postgres
            | Self::Api
            | Self::Console
            | Self::Mcp
            | Self::Interleavings
            | Self::Instructions
            | Self::Examples
            | Self::Docs
            | Self::Book
            | Self::Deny
            | Self::Deploy
            | Self::Github => true,
        }
    }

    /// The name on the command line, and the description of the step.
    fn label(self) -> (String, String) {
        self.to_possible_value().map_or_else(Default::default, |value| {
            (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default())
        })
    }

    fn run(self, shell: &Shell, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Fmt => build::fmt(shell),
            Self::Direction => direction::check(shell),
            Self::Tidy => tidy::check(shell),
            Self::Programs => {
                programs::install_missing(shell, &Workspace::load(shell)?.target_directory);
                Ok(())
            }
            Self::Package => package::check(shell),
            Self::Clippy => build::clippy(shell),
            Self::Alone => build::each_library_alone(shell),
            Self::Tests => build::tests(shell, tally),
            Self::Postgres => postgres::check(shell, tally),
            Self::Api => fuzz_api::check(shell, tally),
            Self::Console => build::console(shell, tally),
            Self::Mcp => build::mcp(shell, tally),
            Self::Interleavings => build::interleavings(shell, tally),
            Self::Instructions => instructions::check(shell, tally),
            Self::Doctests => build::doctests(shell, tally),
            Self::Examples => examples::run_all(shell),
            Self::Docs => build::docs(shell),
            Self::Book => book::check(shell),
            Self::Deny => deny::check(shell),
            Self::Deploy => deploy::check(shell, tally),
            Self::Github => github::check(shell, tally),
        }
    }
}

/// One line of the table at the end.
struct Row {
    step: String,
    result: &'static str,
    time: Duration,
}

/// Runs the wanted steps and stops at the first that fails, with the command that repeats only it.
pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let target = Workspace::load(shell)?.target_directory;
    programs::prefer_installed(shell, &target)?;
    let mut tally = Tally::new(&target)?;
    let mut rows = Vec::new();
    let mut result = Ok(());
    for &step in Step::value_variants() {
        let (name, purpose) = step.label();
        if result.is_err() || !options.wants(step) {
            let result = if result.is_err() { "not run" } else { "left out" };
            rows.push(Row { step: name, result, time: Duration::ZERO });
            continue;
        }
        println!("\n=== {name}: {purpose}");
        let start = Instant::now();
        result = step
            .run(shell, &mut tally)
            .with_context(|| format!("{name} failed; repeat it with: cargo xtask ci --only {name}"));
        let time = start.elapsed();
        let mark = if result.is_ok() { "ok" } else { "FAILED" };
        println!("=== {name}: {mark} after {:.1} s", time.as_secs_f64());
        rows.push(Row { step: name, result: mark, time });
    }
    let skipped = tally.skipped()?;
    print!("{}", summary(&rows, tally.passed_tests, &skipped));
    result?;
    if options.strict && !skipped.is_empty() {
        bail!("{} checks were skipped, and --strict allows none", skipped.len());
    }
    Ok(())
}

fn summary(rows: &[Row], passed_tests: usize, skipped: &[String]) -> String {
    let mut lines = vec![String::new()];
    for Row { step, result, time } in rows {
        lines.push(format!("{step:<13} {result:<8} {:>7.1} s", time.as_secs_f64()));
    }
    let total: Duration = rows.iter().map(|row| row.time).sum();
    lines.push(format!("{:<13} {:<8} {:>7.1} s", "total", "", total.as_secs_f64()));
    let ran = rows.iter().filter(|row| matches!(row.result, "ok" | "FAILED")).count();
    lines.push(format!(
        "{ran} of {} steps ran, {passed_tests} tests passed, {} checks skipped",
        rows.len(),
        skipped.len()
    ));
    lines.extend(skipped.iter().map(|line| format!("  skipped: {line}")));
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(fast: bool, only: Vec<Step>) -> Options {
        Options { fast, strict: false, only }
    }

    fn wanted(options: &Options) -> Vec<Step> {
        Step::value_variants().iter().copied().filter(|step| options.wants(*step)).collect()
    }

    #[test]
    fn every_step_runs_by_default() {
        assert_eq!(wanted(&options(false, vec![])), Step::value_variants());
    }

    #[test]
    fn fast_keeps_the_quick_steps_in_order() {
        let fast = wanted(&options(true, vec![]));
        assert_eq!(fast, [Step::Fmt, Step::Direction, Step::Tidy, Step::Clippy, Step::Tests, Step::Doctests]);
    }

    #[test]
    fn only_runs_a_slow_step_too() {
        assert_eq!(wanted(&options(false, vec![Step::Deny])), [Step::Deny]);
    }

    #[test]
    fn every_step_has_a_description() {
        assert!(Step::value_variants().iter().all(|step| !step.label().1.is_empty()));
    }

    #[test]
    fn the_summary_counts_what_ran_and_lists_what_was_skipped() {
        let row = |step: &str, result| Row { step: step.into(), result, time: Duration::from_secs(1) };
        let rows = [row("fmt", "ok"), row("tests", "FAILED"), row("docs", "not run"), row("deny", "left out")];
        let text = summary(&rows, 7, &["advisories: no network".into()]);
        assert!(
            text.contains("2 of 4 steps ran, 7 tests passed, 1 checks skipped\n  skipped: advisories: no network\n")
        );
    }
}
