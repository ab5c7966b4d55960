//! No circles of imports between the folders of a crate, and the order of `brigade-core`'s folders.
//!
//! A name is looked up through the crate's re-exports, so `use crate::Agent` counts as an import of the folder that
//! defines `Agent`. The crate's root file may name everything and is left out; the other files directly in `src/` count
//! as one folder.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::rules::finding::Finding;
use crate::source::modules::{Modules, ROOT};
use crate::source::scan::PathUse;

/// The folders of `brigade-core`; each may import only from folders to its left.
pub(crate) const CORE_LAYERS: [&str; 10] =
    [ROOT, "money", "chat", "run", "model", "tool", "memory", "agent", "team", "testing"];

/// So many imports are listed for each pair of folders.
const SHOWN_IMPORTS: usize = 4;

/// Which folder imports from which, and where: `file:line: path`.
type Imports<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<String>>;

/// Circles of imports in one crate.
pub(crate) fn circles(crate_name: &str, modules: &Modules) -> Vec<Finding> {
    let imports = imports(modules);
    let mut found = BTreeSet::new();
    for &(from, to) in imports.keys() {
        if let Some(circle) = shortest_way(&imports, to, from) {
            found.insert(rotated(circle));
        }
    }
    smallest(found).iter().map(|circle| describe_circle(crate_name, circle, &imports)).collect()
}

/// Imports against the order of `layers`, and folders that have no place in it.
pub(crate) fn against_layers(crate_name: &str, modules: &Modules, layers: &[&str]) -> Vec<Finding> {
    let place = |folder: &str| layers.iter().position(|layer| *layer == folder);
    let imports = imports(modules);
    let folders: BTreeSet<&str> = modules.iter().map(|(path, _)| modules.folder(path)).collect();
    let unplaced = folders.into_iter().filter(|folder| place(folder).is_none()).map(|folder| {
        let remedy = "add it to CORE_LAYERS in xtask/src/rules/folders.rs, and to the map in ARCHITECTURE.md";
        Finding::new(crate_name, format!("the folder {folder} has no place among the layers"), remedy)
    });
    let upward = imports.iter().filter(|((from, to), _)| place(from) < place(to)).map(|((from, to), uses)| {
        let what = format!("{from} imports from {to}, which is a layer above it:\n{}", list(uses));
        Finding::new(crate_name, what, "move the item down, or the code that uses it up")
    });
    unplaced.chain(upward).collect()
}

fn imports(modules: &Modules) -> Imports<'_> {
    let mut imports = Imports::new();
    for (path, module) in modules.iter().filter(|(path, _)| !path.is_empty()) {
        let from = modules.folder(path);
        let uses = module.imports.iter().map(|import| &import.path).chain(&module.paths);
        for PathUse { line, segments } in uses {
            let Some(named) = modules.resolve(path, segments) else { continue };
            // The folder's name borrows from the module that is in the map, not from the answer.
            let Some((target, _)) = modules.iter().find(|(path, _)| **path == named.module) else { continue };
            let to = modules.folder(target);
            if from != to {
                let at = format!("{}:{line}: {}", module.file, segments.join("::"));
                imports.entry((from, to)).or_default().insert(at);
            }
        }
    }
    imports
}

fn shortest_way<'a>(imports: &Imports<'a>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::from([from]);
    while let Some(way) = ways.pop_front() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        for &(_, next) in imports.keys().filter(|(from, _)| *from == last) {
            if seen.insert(next) {
                ways.push_back([&way[..], &[next]].concat());
            }
        }
    }
    None
}

/// Leaves out circles that contain all folders of a smaller one: cutting the smaller one is the next thing to do.
fn smallest(found: BTreeSet<Vec<&str>>) -> Vec<Vec<&str>> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(Vec::len);
    let mut kept: Vec<Vec<&str>> = Vec::new();
    for circle in found {
        if !kept.iter().any(|smaller| smaller.iter().all(|folder| circle.contains(folder))) {
            kept.push(circle);
        }
    }
    kept
}

/// The same circle whichever of its folders it was found from.
fn rotated(mut circle: Vec<&str>) -> Vec<&str> {
    let first = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(index, _)| index);
    circle.rotate_left(first);
    circle
}

fn describe_circle(crate_name: &str, circle: &[&str], imports: &Imports<'_>) -> Finding {
    let next = circle.iter().cycle().skip(1);
    let edges: Vec<String> = circle
        .iter()
        .zip(next)
        .map(|(from, to)| {
            let uses = imports.get(&(from, to)).map(list).unwrap_or_default();
            format!("  {from} imports from {to}:\n{uses}")
        })
        .collect();
    let what = format!("its folders import each other in a circle:\n{}", edges.join("\n"));
    Finding::new(crate_name, what, "move what both need into the lower folder")
}

fn list(uses: &BTreeSet<String>) -> String {
    let shown = uses.iter().take(SHOWN_IMPORTS).map(|at| format!("    {at}"));
    let rest = uses.len().saturating_sub(SHOWN_IMPORTS);
    let more = (rest > 0).then(|| format!("    and {rest} more"));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::modules::tests::load;

    const ROOT_FILE: (&str, &str) =
        ("lib.rs", "mod chat; mod ids; mod money; pub use money::Money; pub use chat::Message;");

    #[test]
    fn imports_in_one_direction_pass() {
        let modules = load(&[
            ROOT_FILE,
            ("ids.rs", "pub struct Id;"),
            ("money/mod.rs", "use crate::ids::Id; pub struct Money;"),
            ("chat/mod.rs", "use crate::Money; pub struct Message;"),
        ]);
        assert_eq!(circles("a", &modules), []);
        assert_eq!(against_layers("a", &modules, &[ROOT, "money", "chat"]), []);
    }

    #[test]
    fn a_circle_through_the_reexports_is_found_with_the_lines_that_close_it() {
        let modules = load(&[
            ROOT_FILE,
            ("ids.rs", ""),
            ("money/mod.rs", "\npub struct Money;\nfn a() { drop(crate::Message); }"),
            ("chat/mod.rs", "use crate::{Money};\npub struct Message;"),
        ]);
        let findings = circles("a", &modules);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let text = findings[0].to_string();
        assert!(text.contains("a/src/money/mod.rs:3: crate::Message"), "{text}");
        assert!(text.contains("a/src/chat/mod.rs:1: crate::Money"), "{text}");
    }

    #[test]
    fn a_circle_through_a_root_file_is_found() {
        let modules = load(&[
            ROOT_FILE,
            ("ids.rs", "use super::money;"),
            ("money/mod.rs", "use crate::ids; pub struct Money;"),
            ("chat/mod.rs", "pub struct Message;"),
        ]);
        assert_eq!(circles("a", &modules).len(), 1);
    }

    #[test]
    fn of_overlapping_circles_the_smallest_are_listed() {
        let modules = load(&[
            ROOT_FILE,
            ("ids.rs", "use crate::money;"),
            ("money/mod.rs", "use crate::chat; pub struct Money;"),
            ("chat/mod.rs", "use crate::{ids, money}; pub struct Message;"),
        ]);
        let findings = circles("a", &modules);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(!findings[0].what.contains(ROOT), "{findings:?}");
    }

    #[test]
    fn tests_and_docs_may_import_anything() {
        let modules = load(&[
            ROOT_FILE,
            ("ids.rs", ""),
            (
                "money/mod.rs",
                "//! [`crate::Message`]\npub struct Money;\n#[cfg(test)]\nmod tests { use crate::Message; }",
            ),
            ("chat/mod.rs", "use crate::Money; pub struct Message;"),
        ]);
        assert_eq!(circles("a", &modules), []);
    }

    #[test]
    fn an_import_of_a_higher_layer_and_a_folder_without_a_layer_are_found() {
        let modules = load(&[
            ROOT_FILE,
            ("ids.rs", ""),
            ("money/mod.rs", "use crate::chat; pub struct Money;"),
            ("chat/mod.rs", "pub struct Message;"),
        ]);
        let upward = against_layers("a", &modules, &[ROOT, "money", "chat"]);
        assert!(upward.len() == 1 && upward[0].what.contains("money imports from chat"), "{upward:?}");
        let unplaced = against_layers("a", &modules, &[ROOT, "money"]);
        assert!(unplaced.iter().any(|finding| finding.what.contains("chat has no place")), "{unplaced:?}");
    }
}
