//! `cargo xtask release`: prepares a release, and builds its files. Nothing is published: the commands that do so are
//! printed, for a person with the right to run them.

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use xshell::{Shell, cmd};

use crate::source::workspace::Workspace;
use crate::tools::cargo::cargo;

/// The commands of `cargo xtask release`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sets the version everywhere, and closes the section of unreleased changes. Only prints the new files' lines without
    /// `--write`
    Prepare {
        /// The new version, such as 0.2.0
        version: String,
        /// Write the files
        #[arg(long)]
        write: bool,
    },
    /// Builds the program for this machine and packs it with its manual, completions, licences and checksum
    Build,
}

/// What follows `prepare --write`.
const NEXT: &str = "next:
  cargo xtask ci --strict
  git commit --all --message \"Release VERSION\" && git tag --annotate vVERSION --message VERSION
  cargo publish --workspace --locked --dry-run    # compiles every package; then without --dry-run
  git push origin main vVERSION                   # the workflow `release` builds the files";

/// The shells that completions are packed for.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

pub(crate) fn run(shell: &Shell, command: &Command) -> Result<()> {
    match command {
        Command::Prepare { version, write } => prepare(shell, version, *write),
        Command::Build => build(shell),
    }
}

fn prepare(shell: &Shell, version: &str, write: bool) -> Result<()> {
    let date = cmd!(shell, "git log -1 --format=%cs").quiet().read()?;
    let (manifest, changelog) = (shell.read_file("Cargo.toml")?, shell.read_file("CHANGELOG.md")?);
    let files = [
        ("Cargo.toml", with_version(&manifest, version)?, manifest),
        ("CHANGELOG.md", with_section(&changelog, version, date.trim())?, changelog),
    ];
    for (path, new, old) in &files {
        println!("{path}:");
        let is_new = |line: &&str| !old.lines().any(|other| other == *line);
        new.lines().filter(is_new).for_each(|line| println!("  {line}"));
        if write {
            shell.write_file(path, new)?;
        }
    }
    if !write {
        println!("nothing was written; add --write");
        return Ok(());
    }
    cargo(shell, "update").args(["--workspace", "--offline"]).run()?;
    println!("{}", NEXT.replace("VERSION", version));
    Ok(())
}

/// The manifest of the workspace with another version of all members.
fn with_version(manifest: &str, version: &str) -> Result<String> {
    let parts: Vec<&str> = version.split('.').collect();
    let is_valid = parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok());
    ensure!(is_valid, "`{version}` is not a version; write it like 0.2.0");
    let (_, package) = manifest.split_once("[workspace.package]\n").context("Cargo.toml has no [workspace.package]")?;
    let old = package.lines().find_map(|line| line.strip_prefix("version = ")).context("there is no version yet")?;
    ensure!(old != format!("\"{version}\""), "the version is {version} already");
    let line = |line: &str| {
        let is_ours = line.starts_with("brigade-") || line.starts_with("version = ");
        let new = format!("version = \"{version}\"");
        if is_ours { line.replace(&format!("version = {old}"), &new) } else { line.to_owned() }
    };
    Ok(manifest.lines().map(line).map(|line| line + "\n").collect())
}

/// The changelog with the unreleased changes under the new version.
fn with_section(changelog: &str, version: &str, date: &str) -> Result<String> {
    let heading = "## [Unreleased]\n";
    let (before, after) = changelog.split_once(heading).context("CHANGELOG.md has no section `Unreleased`")?;
    let changes = after.split("\n## ").next().unwrap_or_default();
    ensure!(changes.lines().any(|line| line.starts_with("- ")), "there are no unreleased changes in CHANGELOG.md");
    Ok(format!("{before}{heading}\n## [{version}] - {date}\n{after}"))
}

fn build(shell: &Shell) -> Result<()> {
    let workspace = Workspace::load(shell)?;
    let server = workspace.packages.iter().find(|package| package.name == "brigade-server");
    let version = &server.context("there is no brigade-server")?.version;
    let host = cmd!(shell, "rustc -vV").quiet().read()?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let build = cargo(shell, "build").args(["--locked", "--profile", "dist", "--package", "brigade-server"]);
    build.args(["--features", "otlp", "--bin", "brigade"]).run()?;
    let name = format!("brigade-{version}-{host}");
    let folder = workspace.target_directory.join("release-files");
    let content = folder.join(&name);
    shell.remove_path(&content)?;
    shell.create_dir(&content)?;
    let suffix = std::env::consts::EXE_SUFFIX;
    let program = workspace.target_directory.join(format!("dist/brigade{suffix}"));
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.lock"] {
        shell.copy_file(file, &content)?;
    }
    shell.copy_file(&program, &content)?;
    let manual = content.join("man");
    cmd!(shell, "{program} manual {manual}").ignore_stdout().run()?;
    for name in SHELLS {
        let script = cmd!(shell, "{program} completions {name}").quiet().read()?;
        shell.write_file(content.join("completions").join(format!("brigade.{name}")), script)?;
    }
    let _folder = shell.push_dir(&folder);
    let archive = format!("{name}.tar.gz");
    cmd!(shell, "tar --create --gzip --file {archive} {name}").run()?;
    let sums = if cfg!(target_os = "macos") {
        cmd!(shell, "shasum -a 256 {archive}")
    } else {
        cmd!(shell, "sha256sum {archive}")
    };
    shell.write_file(format!("{archive}.sha256"), sums.read()? + "\n")?;
    println!("{}", folder.join(archive).display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.package]\nversion = \"0.1.0\"\n[workspace.dependencies]\n\
        brigade-core = { path = \"crates/core\", version = \"0.1.0\" }\nother = { version = \"0.1.0\" }\n";

    #[test]
    fn all_members_get_the_new_version_and_other_crates_keep_theirs() {
        let new = with_version(MANIFEST, "0.2.0").unwrap();
        assert!(new.contains("[workspace.package]\nversion = \"0.2.0\"\n"), "{new}");
        assert!(new.contains("crates/core\", version = \"0.2.0\" }\nother = { version = \"0.1.0\" }\n"), "{new}");
    }

    #[test]
    fn a_version_that_is_not_one_or_not_new_is_refused() {
        for (version, reason) in [("0.2", "is not a version"), ("v0.2.0", "is not a version"), ("0.1.0", "already")] {
            let error = with_version(MANIFEST, version).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_unreleased_changes_get_the_version_and_the_date() {
        let changelog = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A.\n\n## [0.1.0] - 2026-01-01\n\n- B.\n";
        let new = with_section(changelog, "0.2.0", "2026-12-01").unwrap();
        assert!(new.contains("## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- A.\n"), "{new}");
        let empty = "## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- B.\n";
        assert!(with_section(empty, "0.2.0", "2026-12-01").is_err());
    }
}
