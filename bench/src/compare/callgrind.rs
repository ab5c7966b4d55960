//! Counts the instructions of a process.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The instructions of a program in the folder of this one, which reads `input`. Needs `valgrind`.
pub(super) fn instructions(program: &str, arguments: &[String], input: &str) -> Result<f64> {
    let mut process = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?.with_file_name(program))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start valgrind; install it")?;
    let mut standard_input = process.stdin.take().context("the process has no standard input")?;
    writeln!(standard_input, "{input}")?;
    drop(standard_input);
    let output = process.wait_with_output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the process failed under valgrind:\n{report}");
    }
    let collected =
        report.lines().find_map(|line| line.split_once("Collected : ")).context("callgrind counted nothing")?;
    Ok(collected.1.trim().parse()?)
}
