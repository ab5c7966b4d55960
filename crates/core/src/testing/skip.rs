//! Reports tests that cannot run on this machine.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write},
};

/// Names the file that collects the reports; `cargo xtask ci` sets it and counts them.
const VARIABLE: &str = "BRIGADE_SKIPPED_CHECKS";

/// Reports that a test cannot run here, for example because a program is missing. The report goes to standard error,
/// where the test harness does not capture it, and to the file that `BRIGADE_SKIPPED_CHECKS` names.
pub fn skip_test(test: &str, reason: &str) {
    let line = format!("{test}: {}", reason.replace('\n', " "));
    // A report that cannot be written must not fail the test.
    let _ = writeln!(io::stderr(), "SKIPPED {line}");
    if let Some(file) = env::var_os(VARIABLE) {
        let _ = OpenOptions::new().append(true).open(file).and_then(|mut file| writeln!(file, "{line}"));
    }
}
