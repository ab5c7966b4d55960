//! Tools that are Python packages.

use std::fs;
use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

/// Installs packages, each as `name==version`, in a folder of their own, unless they are there already. Needs python3 and
/// access to their registry.
pub(crate) fn install(shell: &Shell, folder: &Path, packages: &[&str]) -> Result<()> {
    let done = folder.join(packages.join(","));
    if !done.exists() {
        cmd!(shell, "python3 -m venv --clear {folder}").ignore_stdout().run()?;
        let (python, quiet) = (folder.join("bin/python"), "--disable-pip-version-check");
        cmd!(shell, "{python} -m pip install --quiet {quiet} --timeout 10 --retries 1 {packages...}").run()?;
        fs::write(done, "")?;
    }
    Ok(())
}
