//! House rules that rustfmt and clippy do not have.

use std::fs;

use anyhow::Result;
use xshell::Shell;

use crate::rules::faults::{self, Functions};
use crate::rules::finding::{Finding, report};
use crate::rules::sizes::{self, Sizes};
use crate::rules::{folders, public_names, published, readme, words};
use crate::source::files;
use crate::source::modules::Modules;
use crate::source::workspace::Workspace;

/// Marks of unfinished work, split so that this file does not match itself.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ig", "nore"),
];

/// Paths and hosts of one machine.
const LOCAL: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("replace", "-with"),
];

/// Parts of paths of data that must stay as it was recorded.
const VERBATIM: [&str; 6] = ["/recordings/", "/snapshots/", "/fixtures/", "/corpus/", ".snap", ".sse"];

/// Checks every text file of the project, and the modules of every crate.
pub(crate) fn check(shell: &Shell) -> Result<()> {
    let mut findings = Vec::new();
    let (mut sizes, mut functions) = (Sizes::default(), Functions::default());
    for path in files::list(shell)? {
        // Files that are not UTF-8 are not text.
        if let Ok(text) = String::from_utf8(shell.read_binary_file(&path)?)
            && !is_verbatim(&path)
        {
            findings.extend(check_text(&path, &text));
            findings.extend(words::check(&path, &text));
            sizes.add(&path, &text);
            functions.add(&path, &text);
        }
    }
    let (readme, example) = (shell.read_file(readme::README)?, shell.read_file(readme::EXAMPLE)?);
    findings.extend(readme::check(&readme, &example));
    findings.extend(sizes.check());
    findings.extend(functions.check(&shell.read_file(faults::FAULTS)?));
    let workspace = Workspace::load(shell)?;
    findings.extend(check_modules(&workspace)?);
    findings.extend(published::check(&workspace)?);
    sizes.print();
    report(&findings)
}

/// The rules about folders and public names.
fn check_modules(workspace: &Workspace) -> Result<Vec<Finding>> {
    let read = |path: &str| fs::read_to_string(workspace.root.join(path)).ok();
    let (mut findings, mut libraries) = (Vec::new(), Vec::new());
    for package in &workspace.packages {
        for target in package.targets.iter().filter(|target| target.is("lib") || target.is("bin")) {
            let modules = Modules::load(&target.src_path.strip_prefix(&workspace.root)?.display().to_string(), &read)?;
            findings.extend(folders::circles(&package.name, &modules));
            if package.name == "brigade-core" {
                findings.extend(folders::against_layers(&package.name, &modules, &folders::CORE_LAYERS));
            }
            if target.is("lib") {
                libraries.push((package.name.as_str(), modules));
            }
        }
    }
    let libraries: Vec<_> = libraries.iter().map(|(name, modules)| (*name, modules)).collect();
    findings.extend(libraries.iter().flat_map(|library| public_names::check_library(*library)));
    findings.extend(public_names::same_types(&libraries));
    Ok(findings)
}

/// The rules for one file.
fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = white_space(path, text);
    findings.extend(local_names(path, text));
    if files::is_rust(path) {
        findings.extend(unfinished(path, text));
        findings.extend(unexplained_exceptions(path, text));
        findings.extend(published::included_from_outside(path, text));
        if is_module(path) {
            findings.extend(sizes::check_file(path, text));
            findings.extend(undocumented(path, text));
        }
    }
    findings
}

/// Whether a file is kept as it was recorded.
fn is_verbatim(path: &str) -> bool {
    let rooted = format!("/{path}");
    VERBATIM.iter().any(|part| rooted.contains(part))
}

/// Whether a file is the code of a library, a program or an example.
fn is_module(path: &str) -> bool {
    (path.contains("/src/") || path.starts_with("examples/")) && !files::is_test_only(path)
}

fn white_space(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = by_line(path, text, |line| {
        line.ends_with([' ', '\t', '\r']).then(|| ("white space at the end of the line".to_owned(), "remove it"))
    });
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(path, "no new line at the end of the file", "add one"));
    }
    findings
}

fn local_names(path: &str, text: &str) -> Vec<Finding> {
    by_line(path, text, |line| {
        let local = LOCAL.iter().find(|local| names(line, local))?;
        Some((format!("names `{local}`, which is not part of the project"), "use a relative path or a neutral name"))
    })
}

/// Whether `line` contains `name`, but not as the end of a longer word or of the path in a URL.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line.get(..start).and_then(|head| head.chars().next_back());
        !before.is_some_and(|character| character.is_alphanumeric() || matches!(character, '.' | '-' | '_'))
    })
}

fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    by_line(path, text, |line| {
        let mark = UNFINISHED.iter().find(|mark| names(line, mark))?;
        Some((format!("unfinished: `{mark}`"), "finish it, or open an issue for it"))
    })
}

/// An exception from a lint needs a reason: `reason = "…"` or a comment on the line above.
fn unexplained_exceptions(path: &str, text: &str) -> Vec<Finding> {
    let exceptions = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let unexplained = |index: &usize| {
        let (above, from_here) = lines.split_at(*index);
        let starts = from_here.first().is_some_and(|line| exceptions.iter().any(|start| line.starts_with(start)));
        starts && !above.last().is_some_and(|line| is_comment(line)) && !has_reason(from_here)
    };
    (0..lines.len())
        .filter(unexplained)
        .map(|index| at(path, index, "an exception from a lint without a reason", "add `reason = \"…\"`"))
        .collect()
}

/// Documentation does not count as a reason.
fn is_comment(line: &str) -> bool {
    line.starts_with("//") && !line.starts_with("///") && !line.starts_with("//!")
}

/// Whether the attribute that begins with the first of `lines` has a reason.
fn has_reason(lines: &[&str]) -> bool {
    let end = lines.iter().position(|line| line.ends_with(']')).unwrap_or_default();
    lines.iter().take(end + 1).any(|line| line.contains("reason ="))
}

fn undocumented(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let missing = !first.starts_with("//!");
    missing.then(|| Finding::new(format!("{path}:1"), "the module has no documentation", "begin with a `//!` sentence"))
}

/// A finding for each line for which `violation` returns what is wrong and how to fix it.
fn by_line<B>(path: &str, text: &str, violation: B) -> Vec<Finding>
where
    B: Fn(&str) -> Option<(String, &'static str)>,
{
    let lines = text.split_terminator('\n').enumerate();
    lines.filter_map(|(index, line)| violation(line).map(|(what, remedy)| at(path, index, what, remedy))).collect()
}

fn at(path: &str, index: usize, what: impl Into<String>, remedy: &str) -> Finding {
    Finding::new(format!("{path}:{}", index + 1), what, remedy)
}

#[cfg(test)]
mod tests;
