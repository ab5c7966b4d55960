//! Packages all libraries as for a registry, without compiling them again.

use anyhow::{Context, Result};
use xshell::Shell;

use crate::rules::finding::{Finding, report};
use crate::rules::published::{COST_REMEDY, stated_crates};
use crate::source::workspace::{Workspace, default_tree};
use crate::tools::cargo::cargo;

/// A README may be so many percent off, so that it need not change with every small update of the lock file.
const TOLERANCE: usize = 10;

/// The largest package that crates.io takes.
const MAX_BYTES: u64 = 10 << 20;

/// Packages the libraries together, so that they find each other's new versions, and compares the number of crates that
/// each one compiles with its README.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    let workspace = Workspace::load(shell)?;
    let packages = workspace.libraries().flat_map(|name| ["--package", name]);
    let package = cargo(shell, "package").args(["--locked", "--no-verify", "--allow-dirty", "--quiet"]);
    package.args(packages).run()?;
    let mut findings = Vec::new();
    for library in &workspace.packages {
        if !workspace.libraries().any(|name| name == library.name) {
            continue;
        }
        let archive = format!("package/{}-{}.crate", library.name, library.version);
        let archive = workspace.target_directory.join(archive);
        let bytes = archive.metadata().with_context(|| format!("cargo did not write {}", archive.display()))?.len();
        let crates = default_tree(shell, &library.name)?.len().saturating_sub(1);
        println!("{}: {} KiB, compiles {crates} other crates", library.name, bytes >> 10);
        if bytes > MAX_BYTES {
            findings.push(Finding::new(&library.name, "is too large for the registry", "exclude files from it"));
        }
        let readme = library.manifest_path.with_file_name("README.md");
        let stated = stated_crates(&shell.read_file(&readme)?).context(COST_REMEDY)?;
        if !is_near(stated, crates) {
            let what = format!("says {stated} other crates, and it compiles {crates}");
            findings.push(Finding::new(format!("{}'s README", library.name), what, "write the new number"));
        }
    }
    report(&findings)
}

fn is_near(stated: usize, real: usize) -> bool {
    stated.abs_diff(real) * 100 <= real * TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn a_number_within_ten_percent_passes() {
        assert!(is_near(110, 100) && is_near(90, 100) && is_near(0, 0));
        assert!(!is_near(111, 100) && !is_near(89, 100) && !is_near(1, 0));
    }
}
