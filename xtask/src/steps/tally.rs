//! What the steps checked and what they skipped.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Tests append a line to the file with this name when they cannot run: `name: reason`.
const VARIABLE: &str = "BRIGADE_SKIPPED_CHECKS";

/// The numbers at the end of `cargo xtask ci`.
#[derive(Debug)]
pub(crate) struct Tally {
    file: PathBuf,
    pub(crate) passed_tests: usize,
}

/// The numbers of one line `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
#[derive(Debug, PartialEq, Eq)]
struct TestResult {
    passed: usize,
    ignored: usize,
}

impl Tally {
    /// Begins with nothing, in a file below the target folder.
    pub(crate) fn new(target: &Path) -> Result<Self> {
        let file = target.join("xtask/skipped-checks");
        fs::create_dir_all(target.join("xtask"))?;
        fs::write(&file, "").with_context(|| format!("writing {}", file.display()))?;
        Ok(Self { file, passed_tests: 0 })
    }

    /// Records that a check did not take place.
    pub(crate) fn skip(&self, check: &str, reason: impl std::fmt::Display) -> Result<()> {
        let line = format!("{check}: {reason}").replace('\n', " ");
        println!("SKIPPED {line}");
        Ok(writeln!(OpenOptions::new().append(true).open(&self.file)?, "{line}")?)
    }

    /// Every skipped check with its reason, once.
    pub(crate) fn skipped(&self) -> Result<Vec<String>> {
        let mut lines: Vec<String> = fs::read_to_string(&self.file)?.lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        Ok(lines)
    }

    /// Runs a program of tests, shows what it prints, and counts the tests.
    pub(crate) fn run_tests(&mut self, mut tests: Command) -> Result<()> {
        let mut child = tests.env(VARIABLE, &self.file).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the tests have an output")?;
        let mut ignored = 0;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if let Some(result) = test_result(&line) {
                self.passed_tests += result.passed;
                ignored += result.ignored;
            }
        }
        if ignored > 0 {
            self.skip("ignored tests", format!("{ignored} are marked with `ignore`"))?;
        }
        let status = child.wait()?;
        if status.success() { Ok(()) } else { bail!("the tests ended with {status}") }
    }
}

fn test_result(line: &str) -> Option<TestResult> {
    let counts = line.strip_prefix("test result: ")?;
    let count = |what: &str| {
        let part = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(TestResult { passed: count("passed")?, ignored: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_test_program_are_read() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.07s";
        assert_eq!(test_result(line), Some(TestResult { passed: 12, ignored: 1 }));
        assert_eq!(test_result("test a::b ... ok"), None);
    }

    #[test]
    fn a_skipped_check_is_listed_once_with_its_reason() {
        let folder = std::env::temp_dir().join(format!("xtask-tally-{}", std::process::id()));
        let tally = Tally::new(&folder).unwrap();
        assert!(tally.skipped().unwrap().is_empty());
        tally.skip("advisories", "no\nnetwork").unwrap();
        tally.skip("advisories", "no\nnetwork").unwrap();
        assert_eq!(tally.skipped().unwrap(), ["advisories: no network"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
