//! Runs every example, because a broken example misleads its readers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use xshell::Shell;

use crate::source::workspace::{Target, Workspace};
use crate::tools::cargo::{EVERYTHING, cargo};
use crate::tools::time_limit;

/// Examples use the simulator in their own process; a few seconds are already slow.
const LIMIT: Duration = Duration::from_mins(1);

/// The fields that are needed here of a line that cargo prints with `--message-format json`.
#[derive(Debug, Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

/// Runs every `examples/examples/*.rs`. Each must succeed within the time limit.
pub(crate) fn run_all(shell: &Shell) -> Result<()> {
    let workspace = Workspace::load(shell)?;
    let sources = sources(&workspace.root.join("examples/examples"))?;
    let json = cargo(shell, "build")
        .args(EVERYTHING)
        .args(["--examples", "--message-format", "json-render-diagnostics"])
        .read()?;
    let programs = programs(&json);
    let logs = workspace.target_directory.join("xtask").join("examples");
    fs::create_dir_all(&logs)?;
    for source in &sources {
        let program = programs.iter().find(|(path, _)| path == source).map(|(_, program)| program);
        let program = program.with_context(|| format!("cargo does not build {} as an example", source.display()))?;
        run(program, &logs)?;
    }
    Ok(())
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut sources = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.sort();
    ensure!(!sources.is_empty(), "there is no example in {}", folder.display());
    Ok(sources)
}

/// The source file and the program of each example that cargo has built.
fn programs(json: &str) -> Vec<(PathBuf, PathBuf)> {
    json.lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter_map(|message| Some((message.target?, message.executable?)))
        .filter(|(target, _)| target.is("example"))
        .map(|(target, program)| (target.src_path, program))
        .collect()
}

/// Runs one example. Its output is shown only if it fails.
fn run(program: &Path, logs: &Path) -> Result<()> {
    let name = program.file_stem().context("a program has a name")?.to_string_lossy();
    let log = logs.join(format!("{name}.log"));
    let output = File::create(&log)?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
    let start = Instant::now();
    time_limit::run(command, LIMIT).with_context(|| {
        let printed = fs::read_to_string(&log).unwrap_or_default();
        format!("example {name} failed; it printed:\n{printed}")
    })?;
    println!("{name}: ok after {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_the_output_of_cargo() {
        let json = r#"{"reason":"compiler-artifact","target":{"name":"a","kind":["lib"],"src_path":"/p/lib.rs"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"b","kind":["example"],"src_path":"/p/b.rs"},"executable":"/t/b"}
{"reason":"compiler-artifact","target":{"name":"c","kind":["bin"],"src_path":"/p/c.rs"},"executable":"/t/c"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(programs(json), [(PathBuf::from("/p/b.rs"), PathBuf::from("/t/b"))]);
    }
}
