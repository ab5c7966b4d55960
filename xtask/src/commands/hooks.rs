//! `cargo xtask hooks`: lets git run the quickest checks before each commit.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

/// Formatting and house rules, which compile nothing but xtask itself.
const HOOK: &str = "#!/bin/sh
# Written by `cargo xtask hooks`; `cargo xtask hooks --remove` removes it. `git commit --no-verify` skips it once.
exec cargo xtask ci --only fmt --only tidy
";

/// The options of `cargo xtask hooks`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Remove the hook instead.
    #[arg(long)]
    remove: bool,
}

/// Writes or removes the hook. A hook that is not ours stays as it is.
pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    let path = cmd!(shell, "git rev-parse --git-path hooks/pre-commit").quiet().read()?;
    let path = shell.current_dir().join(PathBuf::from(path));
    let found = fs::read_to_string(&path).unwrap_or_default();
    let is_ours = found.is_empty() || found.contains("`cargo xtask hooks`");
    ensure!(is_ours, "{} is a hook of your own; add `cargo xtask ci --only fmt --only tidy` to it", path.display());
    if options.remove {
        if !found.is_empty() {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        println!("there is no pre-commit hook now");
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a hook is in a folder")?)?;
    fs::write(&path, HOOK).with_context(|| format!("writing {}", path.display()))?;
    make_executable(&path)?;
    println!("{} checks formatting and house rules before each commit", path.display());
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Git for Windows runs every hook.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "as on other systems")]
fn make_executable(_: &std::path::Path) -> Result<()> {
    Ok(())
}
