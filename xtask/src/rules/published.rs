//! What a library needs so that a user can pick it from a registry: a description that can be searched for, a README with
//! an example that is compiled, licences, and dependencies that can be published.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::rules::finding::Finding;
use crate::source::files;
use crate::source::workspace::{Package, Workspace};

/// Compiles the examples of all READMEs.
const READMES: &str = "examples/src/readmes.rs";

/// The categories of crates.io that fit. The registry drops others with a warning that appears only at publication.
const CATEGORIES: [&str; 13] = [
    "api-bindings",
    "asynchronous",
    "command-line-interface",
    "command-line-utilities",
    "config",
    "data-structures",
    "database",
    "development-tools::debugging",
    "development-tools::testing",
    "network-programming",
    "simulation",
    "text-processing",
    "web-programming::http-server",
];

/// The registry refuses more and longer ones.
const MAX_KEYWORDS: usize = 5;
const MAX_KEYWORD: usize = 20;

/// The files of one library that the rules read.
struct Files<'a> {
    folder: &'a str,
    manifest: Table,
    readme: Option<String>,
    has_licences: bool,
}

/// Checks all libraries.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let readmes = fs::read_to_string(workspace.root.join(READMES)).unwrap_or_default();
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let folder = package.manifest_path.parent().context("a manifest is in a folder")?;
        let place = folder.strip_prefix(&workspace.root)?.display().to_string();
        if !workspace.libraries().any(|library| library == package.name) {
            continue;
        }
        let files = read(&place, folder)?;
        findings.extend(check_manifest(package, &files));
        findings.extend(check_documents(package, &files, &readmes));
    }
    Ok(findings)
}

fn read<'a>(place: &'a str, folder: &Path) -> Result<Files<'a>> {
    let manifest = folder.join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?.parse()?;
    let has_licences = ["LICENSE-MIT", "LICENSE-APACHE"].iter().all(|name| folder.join(name).is_file());
    Ok(Files { folder: place, manifest, readme: fs::read_to_string(folder.join("README.md")).ok(), has_licences })
}

fn check_manifest(package: &Package, Files { folder, manifest, .. }: &Files<'_>) -> Vec<Finding> {
    let place = format!("{folder}/Cargo.toml");
    let mut findings = Vec::new();
    let mut require = |is_met: bool, what: &str, remedy: String| {
        if !is_met {
            findings.push(Finding::new(&place, what, remedy));
        }
    };
    let field = |name: &str| manifest.get("package").and_then(|package| package.get(name));
    let words = |name: &str| -> Vec<&str> {
        field(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let (keywords, categories) = (words("keywords"), words("categories"));
    let are_short = keywords.iter().all(|keyword| keyword.len() <= MAX_KEYWORD);
    let documentation = format!("https://docs.rs/{}", package.name);
    require(package.publish.is_none(), "cannot be published", "leave `publish` out: a library is published".into());
    require(
        (1..=MAX_KEYWORDS).contains(&keywords.len()) && are_short,
        "has no valid keywords",
        format!("write `keywords = […]`, at most {MAX_KEYWORDS} of at most {MAX_KEYWORD} characters"),
    );
    require(
        !categories.is_empty() && categories.iter().all(|category| CATEGORIES.contains(category)),
        "has no valid categories",
        format!("write `categories = […]` with some of: {}", CATEGORIES.join(", ")),
    );
    require(
        field("documentation").and_then(Value::as_str) == Some(documentation.as_str()),
        "has no link to its documentation",
        format!("write `documentation = \"{documentation}\"`"),
    );
    require(
        field("metadata").and_then(|table| table.get("docs")?.get("rs")?.get("all-features")?.as_bool()) == Some(true),
        "would be documented without its features",
        "write `all-features = true` under [package.metadata.docs.rs]".into(),
    );
    findings
}

fn check_documents(package: &Package, files: &Files<'_>, readmes: &str) -> Vec<Finding> {
    let folder = files.folder;
    let place = format!("{folder}/README.md");
    let mut findings = Vec::new();
    if !files.has_licences {
        let remedy = format!("run `cd {folder} && ln -s ../../LICENSE-MIT ../../LICENSE-APACHE .`");
        findings.push(Finding::new(folder, "would be published without its licences", remedy));
    }
    let Some(readme) = &files.readme else {
        let remedy = "say what the crate is for, show an example, and list the features; see crates/notes/README.md";
        findings.push(Finding::new(place, "the crate has no README", remedy));
        return findings;
    };
    let mut require = |is_met: bool, what: String, remedy: String| {
        if !is_met {
            findings.push(Finding::new(&place, what, remedy));
        }
    };
    let title = format!("# {}\n", package.name);
    require(readme.starts_with(&title), "has another title".into(), format!("begin with `{}`", title.trim()));
    require(readme.contains("```rust\n"), "has no example".into(), "add a block of Rust code".into());
    let included = format!("include_str!(\"../../{folder}/README.md\")");
    require(readmes.contains(&included), "its example is not compiled".into(), format!("add it to {READMES}"));
    require(stated_crates(readme).is_some(), "does not say what it costs".into(), COST_REMEDY.into());
    for feature in features(&files.manifest) {
        let remedy = "add a row `| name | default | what it adds |` for it";
        require(
            readme.contains(&format!("| `{feature}` |")),
            format!("does not name the feature {feature}"),
            remedy.into(),
        );
    }
    findings
}

/// Findings for files that a library includes from outside of its folder, which are not in its package.
pub(crate) fn included_from_outside(path: &str, text: &str) -> Vec<Finding> {
    let Some((_, inside)) = path.strip_prefix("crates/").and_then(|path| path.split_once('/')) else {
        return Vec::new();
    };
    if !inside.starts_with("src/") || files::is_test_only(path) {
        return Vec::new();
    }
    let depth = inside.split('/').count() - 1;
    let leaves = |line: &str| {
        let files = ["include_str!(", "include_bytes!("].into_iter().flat_map(|call| line.split(call).skip(1));
        files.map(|file| file.matches("../").count()).any(|up| up > depth)
    };
    let found = text.lines().enumerate().filter(|(_, line)| leaves(line));
    found
        .map(|(index, _)| {
            let what = "includes a file that is not in the package of its crate";
            Finding::new(format!("{path}:{}", index + 1), what, "move the file into the folder of the crate")
        })
        .collect()
}

/// How to state the cost.
pub(crate) const COST_REMEDY: &str =
    "write `It compiles N other crates`; `cargo xtask ci --only package` prints the number";

/// The number in `It compiles 71 other crates`.
pub(crate) fn stated_crates(readme: &str) -> Option<usize> {
    readme.split_once("It compiles ")?.1.split_once(" other crates")?.0.parse().ok()
}

fn features(manifest: &Table) -> impl Iterator<Item = &str> {
    let features = manifest.get("features").and_then(Value::as_table);
    features.into_iter().flat_map(Table::keys).map(String::as_str).filter(|name| *name != "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\ndocumentation = 'https://docs.rs/brigade-a'\nkeywords = ['llm']\n\
        categories = ['config']\n[package.metadata.docs.rs]\nall-features = true\n[features]\ndefault = []\nfast = []";
    const README: &str = "# brigade-a\n\n```rust\n```\n\nIt compiles 7 other crates.\n\n| `fast` | off | Fast. |\n";
    const INCLUDED: &str = "#[doc = include_str!(\"../../crates/a/README.md\")]";

    fn findings(manifest: &str, readme: Option<&str>, readmes: &str) -> Vec<String> {
        let package =
            r#"{"name": "brigade-a", "manifest_path": "", "dependencies": [], "targets": [], "publish": null}"#;
        let package: Package = serde_json::from_str(package).unwrap();
        let (manifest, readme) = (manifest.parse().unwrap(), readme.map(str::to_owned));
        let files = Files { folder: "crates/a", manifest, readme, has_licences: true };
        let mut findings = check_manifest(&package, &files);
        findings.extend(check_documents(&package, &files, readmes));
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_crate_with_everything_passes() {
        assert_eq!(findings(MANIFEST, Some(README), INCLUDED), [""; 0]);
    }

    #[test]
    fn each_field_that_is_missing_is_found() {
        let none =
            findings("[package]\nkeywords = ['a-keyword-of-more-than-twenty-characters']", Some(README), INCLUDED);
        let expected = [
            "has no valid keywords",
            "has no valid categories",
            "has no link to its documentation",
            "would be documented without its features",
        ];
        assert_eq!(none, expected);
        let unknown = MANIFEST.replace("config", "artificial-minds");
        assert_eq!(findings(&unknown, Some(README), INCLUDED), ["has no valid categories"]);
    }

    #[test]
    fn a_file_from_outside_of_the_crate_is_found() {
        let found = |path: &str, file: &str| included_from_outside(path, &format!("a();\ninclude_str!(\"{file}\")\n"));
        assert_eq!(found("crates/a/src/b/c.rs", "../../data/x.json"), []);
        assert_eq!(found("crates/a/tests/b.rs", "../../../README.md"), []);
        assert_eq!(found("examples/src/readmes.rs", "../../README.md"), []);
        assert_eq!(found("crates/a/src/lib.rs", "../../../README.md")[0].place, "crates/a/src/lib.rs:2");
    }

    #[test]
    fn a_readme_without_its_parts_is_found() {
        let expected = [
            "has another title",
            "has no example",
            "its example is not compiled",
            "does not say what it costs",
            "does not name the feature fast",
        ];
        assert_eq!(findings(MANIFEST, Some("# a\n"), ""), expected);
        assert_eq!(findings(MANIFEST, None, ""), ["the crate has no README"]);
    }
}
