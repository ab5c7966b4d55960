//! `cargo xtask fuzz-api`: sends requests that Schemathesis generates from the server's OpenAPI description, valid and
//! invalid ones, to the real binary with a simulated provider. No response may be a 5xx or differ from the description.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xshell::Shell;

use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::tools::cargo::{EVERYTHING, cargo};
use crate::tools::python;
use crate::tools::time_limit;

/// The version is fixed: a newer one may find more.
const TOOL: &str = "schemathesis==4.32.5";

/// How long the step of `cargo xtask ci` takes.
const CI_SECONDS: u64 = 25;

/// The tool stops by itself when its time is over, and then writes its report.
const REPORTING: Duration = Duration::from_mins(1);

/// The options of `cargo xtask fuzz-api`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For how many seconds.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Repeats the requests of an earlier run; a failure prints its seed.
    #[arg(long)]
    seed: Option<u128>,
}

/// A running program that is killed on drop.
#[derive(Debug)]
struct Running(Child);

pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let workspace = Workspace::load(shell)?;
    let folder = workspace.target_directory.join("schemathesis");
    let tool = install(shell, &folder).with_context(|| format!("cannot install {TOOL}; it needs python3 and PyPI"))?;
    fuzz(shell, &workspace, (&tool, options))
}

/// A short run for `ci`. Skipped if the tool cannot be installed.
pub(crate) fn check(shell: &Shell, tally: &Tally) -> Result<()> {
    let workspace = Workspace::load(shell)?;
    match install(shell, &workspace.target_directory.join("schemathesis")) {
        Ok(tool) => fuzz(shell, &workspace, (&tool, &Options { seconds: CI_SECONDS, seed: Some(1) })),
        Err(error) => tally.skip("api", format!("{TOOL} cannot be installed: {error:#}")),
    }
}

fn install(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    python::install(shell, folder, &[TOOL])?;
    Ok(folder.join("bin/st"))
}

fn fuzz(shell: &Shell, workspace: &Workspace, (tool, options): (&Path, &Options)) -> Result<()> {
    cargo(shell, "build").args(EVERYTHING).args(["--bin", "brigade"]).run()?;
    let brigade = workspace.target_directory.join("debug/brigade");
    let folder = workspace.target_directory.join("xtask/fuzz-api");
    fs::create_dir_all(&folder)?;
    let (_simulator, simulator) = start(Command::new(&brigade).arg("simulate"), &folder)?;
    fs::write(folder.join("brigade.toml"), include_str!("fuzz_api/brigade.toml").replace("$SIMULATOR", &simulator))?;
    fs::write(folder.join("schemathesis.toml"), include_str!("fuzz_api/schemathesis.toml"))?;
    let (mut server, url) = start(Command::new(&brigade).arg("serve"), &folder)?;
    let mut command = Command::new(tool);
    command.current_dir(&folder).args(["run", &format!("{url}/openapi.json"), "--continue-on-failure", "--no-color"]);
    // One worker: with more, Python 3.11's parser fails now and then (https://github.com/python/cpython/issues/106905).
    command.args(["--workers=1", "--output-sanitize=false", &format!("--max-time={}", options.seconds)]);
    command.args(options.seed.map(|seed| format!("--seed={seed}")));
    time_limit::run(command, Duration::from_secs(options.seconds) + REPORTING)?;
    ensure!(server.0.try_wait()?.is_none(), "the server has ended");
    let log = fs::read_to_string(folder.join("serve.log"))?;
    ensure!(!log.contains("panicked"), "the server panicked:\n{log}");
    Ok(())
}

/// Starts a program that prints its address first. Its log is kept.
fn start(program: &mut Command, folder: &Path) -> Result<(Running, String)> {
    let name = program.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    let log = File::create(folder.join(format!("{name}.log")))?;
    let process = program.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
    let mut running = Running(process.with_context(|| format!("starting brigade {name}"))?);
    let output = running.0.stdout.take().context("a started program has an output")?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    ensure!(address.starts_with("http://"), "brigade {name} does not listen; its log is in {}", folder.display());
    Ok((running, address.trim().to_owned()))
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
