//! Rules for `Cargo.toml`: shared versions and lints, and which packages are published.
//!
//! A dev-dependency on another crate of the workspace has a path and no version: cargo leaves it out of the published
//! manifest. With a version, two crates whose tests use each other could not be published in any order.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::rules::finding::Finding;
use crate::source::workspace::Workspace;

const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Checks the manifest of every member, and the shared versions against their use.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for package in &workspace.packages {
        let manifest = read(&package.manifest_path)?;
        let place = package.manifest_path.strip_prefix(&workspace.root)?.display().to_string();
        let is_library = workspace.libraries().any(|library| library == package.name);
        if !is_library && package.publish.as_deref() != Some(&[]) {
            findings.push(Finding::new(&place, "could be published by accident", "write `publish.workspace = true`"));
        }
        findings.extend(check_member(&place, &manifest, is_library));
        used.extend(dependencies(&manifest).map(|dependency| dependency.name.to_owned()));
    }
    findings.extend(unused(&read(&workspace.root.join("Cargo.toml"))?, &used));
    Ok(findings)
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("parsing {}", path.display()))
}

fn check_member(place: &str, manifest: &Table, is_library: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Dependency { name, kind, entry } in dependencies(manifest) {
        if is_library && kind == "dev-dependencies" && name.starts_with("brigade-") {
            if entry.get("path").is_none() || entry.get("version").is_some() {
                let folder = name.trim_start_matches("brigade-");
                let remedy = format!("write `{name} = {{ path = \"../{folder}\" }}`, which is left out of the package");
                findings.push(Finding::new(
                    place,
                    format!("{name} would be published as a dependency of tests"),
                    remedy,
                ));
            }
        } else if !is_inherited(entry) {
            let remedy = format!("declare it in the root and write `{name}.workspace = true`");
            findings.push(Finding::new(place, format!("{name} has a version of its own"), remedy));
        }
    }
    if !manifest.get("lints").is_some_and(is_inherited) {
        findings.push(Finding::new(place, "does not share the lints", "write `workspace = true` under [lints]"));
    }
    findings
}

fn is_inherited(entry: &Value) -> bool {
    entry.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// One line of a table of dependencies.
struct Dependency<'a> {
    name: &'a str,
    /// The name of the table.
    kind: &'static str,
    entry: &'a Value,
}

/// All dependencies of a manifest, also those of one platform.
fn dependencies(manifest: &Table) -> impl Iterator<Item = Dependency<'_>> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    std::iter::once(manifest)
        .chain(platforms.filter_map(Value::as_table))
        .flat_map(|table| DEPENDENCY_TABLES.iter().filter_map(|kind| Some((*kind, table.get(*kind)?.as_table()?))))
        .flat_map(|(kind, table)| table.iter().map(move |(name, entry)| Dependency { name, kind, entry }))
}

/// Shared versions that are not used by any member.
fn unused(root: &Table, used: &BTreeSet<String>) -> Vec<Finding> {
    let shared = root.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(Value::as_table);
    shared
        .into_iter()
        .flat_map(Table::keys)
        .filter(|name| !used.contains(*name))
        .map(|name| {
            Finding::new("Cargo.toml", format!("no member uses {name}"), "take it out of [workspace.dependencies]")
        })
        .collect()
}

#[cfg(test)]
mod tests;
