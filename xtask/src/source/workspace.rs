//! The workspace as `cargo metadata` and `cargo tree` describe it.

use std::path::PathBuf;

use anyhow::Result;
use serde::Deserialize;
use xshell::Shell;

use crate::tools::cargo::cargo;

/// The members of the workspace, without their dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The members.
    pub(crate) packages: Vec<Package>,
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    pub(crate) target_directory: PathBuf,
}

/// One member.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// The registries to which it may be published; `None` allows all of them, an empty list none.
    pub(crate) publish: Option<Vec<String>>,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// A library, program, example or test of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

impl Workspace {
    pub(crate) fn load(shell: &Shell) -> Result<Self> {
        let json = cargo(shell, "metadata").args(["--locked", "--no-deps", "--format-version", "1"]).quiet().read()?;
        Ok(serde_json::from_str(&json)?)
    }

    /// Names of the libraries in `crates/`.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &str> {
        let crates = self.root.join("crates");
        self.packages
            .iter()
            .filter(move |package| package.manifest_path.starts_with(&crates))
            .filter(|package| package.targets.iter().any(|target| target.is("lib")))
            .map(|package| package.name.as_str())
    }
}

impl Target {
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

/// A crate in a resolved tree, with the features that are switched on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
}

/// All crates that a user of `package` compiles with all its features, on any platform.
pub(crate) fn normal_tree(shell: &Shell, package: &str) -> Result<Vec<Resolved>> {
    tree(shell, &["--all-features", "--target", "all", "--package", package, "--edges", "normal"])
}

/// All crates that a user of `package` compiles on this platform with its default features, with build scripts.
pub(crate) fn default_tree(shell: &Shell, package: &str) -> Result<Vec<Resolved>> {
    tree(shell, &["--package", package, "--edges", "normal,build"])
}

/// All crates that a developer of the workspace may compile, with those for tests.
pub(crate) fn whole_tree(shell: &Shell) -> Result<Vec<Resolved>> {
    tree(shell, &["--workspace", "--all-features", "--target", "all"])
}

fn tree(shell: &Shell, selection: &[&str]) -> Result<Vec<Resolved>> {
    let text = cargo(shell, "tree")
        .args(selection)
        .args(["--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"])
        .quiet()
        .read()?;
    let mut crates: Vec<_> = text.lines().filter_map(resolved).collect();
    crates.sort();
    crates.dedup();
    Ok(crates)
}

/// Reads `tokio v1.54.1|default,sync`.
fn resolved(line: &str) -> Option<Resolved> {
    let (package, features) = line.split_once('|')?;
    let name = package.split_whitespace().next()?.to_owned();
    let features = features.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned).collect();
    Some(Resolved { name, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_gives_name_and_features() {
        let tokio = Resolved { name: "tokio".into(), features: vec!["default".into(), "sync".into()] };
        assert_eq!(resolved("tokio v1.54.1|default,sync"), Some(tokio));
        assert_eq!(resolved("itoa v1.0.0 (proc-macro)|").map(|itoa| itoa.features), Some(vec![]));
        assert_eq!(resolved(""), None, "a blank line separates two trees");
    }
}
