//! Programs that the checks run, and the Debian packages that have them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::tools::cargo::cargo;
use crate::tools::time_limit;

/// A program and its arguments.
type Call = (&'static str, &'static [&'static str]);

/// A program that the checks run.
struct Program {
    /// A call that succeeds only if the program is installed.
    probe: Call,
    package: &'static str,
    /// Installing the package would also start a service, so only its files are unpacked below the target folder.
    is_unpacked: bool,
}

const PROGRAMS: [Program; 10] = [
    Program { probe: ("promtool", &["--version"]), package: "prometheus", is_unpacked: true },
    Program { probe: ("node", &["--version"]), package: "nodejs", is_unpacked: false },
    Program { probe: ("npm", &["--version"]), package: "npm", is_unpacked: false },
    Program { probe: ("python3", &["-c", "import ensurepip, venv"]), package: "python3-venv", is_unpacked: false },
    Program { probe: ("curl", &["--version"]), package: "curl", is_unpacked: false },
    Program { probe: ("chromium", &["--version"]), package: "chromium", is_unpacked: false },
    Program { probe: ("chromedriver", &["--version"]), package: "chromium-driver", is_unpacked: false },
    Program { probe: ("valgrind", &["--version"]), package: "valgrind", is_unpacked: false },
    // In a container, and wherever else systemd does not run, the package starts no server.
    Program {
        probe: ("sh", &["-c", "ls /usr/lib/postgresql/*/bin/initdb"]),
        package: "postgresql",
        is_unpacked: false,
    },
    Program { probe: ("systemd-analyze", &["--version"]), package: "systemd", is_unpacked: false },
];

/// A mirror that does not answer must not hold up the other checks.
const APT_LIMIT: Duration = Duration::from_mins(3);

/// The folder of the programs that are unpacked instead of installed.
pub(crate) fn folder(target: &Path) -> PathBuf {
    target.join("programs")
}

/// Lets all steps find the programs in [`folder`] first.
pub(crate) fn prefer_installed(shell: &Shell, target: &Path) -> Result<()> {
    let folder = folder(target);
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [folder.join("bin"), folder.join("usr/bin")].into_iter().chain(env::split_paths(&path));
    shell.set_var("PATH", env::join_paths(paths)?);
    Ok(())
}

/// Installs what is missing. A program that cannot be installed is not a failure here: the check that needs it is
/// skipped and reports that.
pub(crate) fn install_missing(shell: &Shell, target: &Path) {
    let folder = folder(target);
    let mut is_updated = false;
    for program in PROGRAMS {
        if is_installed(shell, program.probe) {
            continue;
        }
        println!("installing {}", program.package);
        if let Err(error) = install(shell, &program, &folder, &mut is_updated) {
            println!("{} cannot be installed: {error:#}", program.package);
        }
    }
}

/// Installs this version of a cargo command below the target folder, unless it is there or on the path.
pub(crate) fn install_with_cargo(shell: &Shell, target: &Path, command: &str, version: &str) -> Result<()> {
    let installed = cargo(shell, command).arg("--version").quiet().ignore_stderr().read();
    if installed.is_ok_and(|found| found.trim().ends_with(version)) {
        return Ok(());
    }
    let package = format!("cargo-{command}");
    let install = cargo(shell, "install").args(["--locked", &package, "--version", version, "--root"]);
    Ok(install.arg(folder(target)).run()?)
}

fn is_installed(shell: &Shell, (name, arguments): Call) -> bool {
    shell.cmd(name).args(arguments).quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

fn install(shell: &Shell, program: &Program, folder: &Path, is_updated: &mut bool) -> Result<()> {
    ensure!(
        is_installed(shell, ("apt-get", &["--version"])),
        "apt-get is not installed; install the package with the system's package manager"
    );
    ensure!(cmd!(shell, "id -u").quiet().read()? == "0", "only root can install packages");
    if !*is_updated {
        apt(shell, &["update", "--quiet=2"])?;
        *is_updated = true;
    }
    let package = program.package;
    if program.is_unpacked {
        shell.create_dir(folder)?;
        let downloads = shell.push_dir(folder);
        apt(shell, &["download", "--quiet=2", package])?;
        drop(downloads);
        let archives = shell.read_dir(folder)?;
        let is_archive = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "deb");
        let archive = archives.iter().find(is_archive).context("apt-get downloaded nothing")?;
        cmd!(shell, "dpkg --extract {archive} {folder}").run()?;
        return Ok(shell.remove_path(archive)?);
    }
    apt(shell, &["install", "--quiet=2", "--yes", "--no-install-recommends", package])
}

fn apt(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let mut command = Command::from(cmd!(shell, "apt-get {arguments...}").env("DEBIAN_FRONTEND", "noninteractive"));
    command.stdout(Stdio::null());
    time_limit::run(command, APT_LIMIT).with_context(|| format!("apt-get {}", arguments.join(" ")))
}
