//! Each public name has one path, and means one thing in the whole workspace.

use std::collections::BTreeMap;

use crate::rules::finding::Finding;
use crate::source::modules::{ModulePath, Modules, Named};

/// The public modules, each with the reason why its items are not in the list of re-exports.
const PUBLIC_MODULES: [(&str, &str, &str); 4] = [
    (
        "brigade-core",
        "testing",
        "behind a feature: a scripted model and contract tests for implementations of its traits",
    ),
    ("brigade-rehearsal", "script::demo", "the names of the built-in script: question, agents, models and tools"),
    ("brigade-durable", "testing", "behind a feature: the conformance tests for other stores of runs"),
    ("brigade-store", "testing", "behind a feature: the conformance tests for other stores"),
];

/// The most public items that the core defines, without its public modules. A reader should be able to keep an overview.
const MAX_CORE_ITEMS: usize = 110;

/// The crate that programs do not depend on: they name its items in core, which it was taken out of.
const SHOWN_BY_CORE: &str = "brigade_values";

/// A library with its modules.
pub(crate) type Library<'a> = (&'a str, &'a Modules);

/// The rules for one library.
pub(crate) fn check_library((name, modules): Library<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, module) in modules.iter().filter(|(path, _)| !path.is_empty() && !is_public_module(name, path)) {
        if let Some(line) = module.public_at {
            let parent =
                path.split_last().and_then(|(_, parent)| modules.get(parent)).map_or("", |parent| &parent.file);
            let remedy = "write `mod`, and list its items in lib.rs";
            findings.push(Finding::new(format!("{parent}:{line}"), format!("pub mod {}", path.join("::")), remedy));
        }
        for import in module.imports.iter().filter(|import| import.is_public) {
            let place = format!("{}:{}", module.file, import.path.line);
            let remedy = "write `pub(crate) use`, and list the item in lib.rs";
            findings.push(Finding::new(
                place,
                format!("pub use {} outside lib.rs", import.path.segments.join("::")),
                remedy,
            ));
        }
    }
    findings.extend(reached_twice(name, modules));
    findings.extend(items_of_others(modules));
    findings.extend(too_many_items(name, modules));
    findings
}

fn too_many_items(library: &str, modules: &Modules) -> Option<Finding> {
    let items = public_items(library, modules).iter().filter(|(path, _)| !path.contains("::")).count();
    (library == "brigade-core" && items > MAX_CORE_ITEMS).then(|| {
        let what = format!("{items} public items, {MAX_CORE_ITEMS} are allowed");
        Finding::new(library, what, "merge types that say the same, or move a part into a crate of its own")
    })
}

/// Public types that two libraries define under the same name.
pub(crate) fn same_types(libraries: &[Library<'_>]) -> Vec<Finding> {
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, modules) in libraries {
        for (public, named) in public_items(name, modules) {
            if is_type(modules, &named) {
                owners.entry(public).or_default().push(name);
            }
        }
    }
    let shared = owners.into_iter().filter_map(|(name, owners)| {
        let (first, others) = owners.split_first()?;
        let what = format!("the public type {name} is also one of {}", others.join(", "));
        (!others.is_empty()).then(|| Finding::new(*first, what, "say in one of the names what sets it apart"))
    });
    shared.collect()
}

fn reached_twice(library: &str, modules: &Modules) -> Vec<Finding> {
    let mut paths: BTreeMap<Named, Vec<String>> = BTreeMap::new();
    for (public, named) in public_items(library, modules) {
        paths.entry(named).or_default().push(public);
    }
    paths
        .into_values()
        .filter(|paths| paths.len() > 1)
        .map(|paths| {
            Finding::new(library, format!("one item has the public paths {}", paths.join(" and ")), "keep one of them")
        })
        .collect()
}

/// Re-exported items of another of our crates, which has a path of its own for them.
fn items_of_others(modules: &Modules) -> Vec<Finding> {
    let root = modules.get(&ModulePath::new());
    let imports = root.into_iter().flat_map(|root| root.imports.iter().map(|import| (&root.file, import)));
    let found = imports.filter_map(|(file, import)| {
        let (owner, _) = import.path.segments.split_first()?;
        if owner == SHOWN_BY_CORE {
            return None;
        }
        let what = format!("pub use {} of another crate", import.path.segments.join("::"));
        let remedy = format!("users name it in {owner}; remove this path");
        (import.is_public && owner.starts_with("brigade_"))
            .then(|| Finding::new(format!("{file}:{}", import.path.line), what, remedy))
    });
    found.collect()
}

/// The public path of each item that the library defines itself, and the definition.
fn public_items(library: &str, modules: &Modules) -> Vec<(String, Named)> {
    let mut found = Vec::new();
    for (path, module) in modules.iter().filter(|(path, _)| path.is_empty() || is_public_module(library, path)) {
        let public_path = |name: &str| [&path[..], &[name.to_owned()]].concat().join("::");
        for item in module.items.iter().filter(|item| item.is_public) {
            found.push((public_path(&item.name), Named { module: path.clone(), item: Some(item.name.clone()) }));
        }
        for import in module.imports.iter().filter(|import| import.is_public) {
            found.extend(modules.resolve(path, &import.path.segments).map(|named| (public_path(&import.name), named)));
        }
    }
    found
}

fn is_public_module(library: &str, path: &ModulePath) -> bool {
    PUBLIC_MODULES.iter().any(|(owner, module, _)| *owner == library && path.join("::") == *module)
}

fn is_type(modules: &Modules, named: &Named) -> bool {
    let items = modules.get(&named.module).map(|module| &module.items[..]).unwrap_or_default();
    items.iter().any(|item| item.is_type && Some(&item.name) == named.item.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::modules::tests::load;

    fn whats(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.what.as_str()).collect()
    }

    #[test]
    fn private_modules_and_one_list_of_reexports_pass() {
        let modules = load(&[
            ("lib.rs", "mod a; pub use a::B; pub mod testing;"),
            ("a.rs", "pub struct B; pub(crate) use std::fmt;"),
            ("testing.rs", "pub struct Fake;"),
        ]);
        assert_eq!(check_library(("brigade-core", &modules)), []);
    }

    #[test]
    fn a_public_module_and_a_reexport_elsewhere_are_found() {
        let modules = load(&[("lib.rs", "pub mod a;"), ("a.rs", "mod b { pub struct C; }\npub use b::C;")]);
        let findings = check_library(("a", &modules));
        assert_eq!(whats(&findings), ["pub mod a", "pub use b::C outside lib.rs"]);
        assert_eq!(findings[1].place, "a/src/a.rs:2");
    }

    #[test]
    fn an_item_with_two_paths_is_found() {
        let modules = load(&[("lib.rs", "mod a; pub use a::B; pub use a::B as C;"), ("a.rs", "pub struct B;")]);
        assert_eq!(whats(&check_library(("a", &modules))), ["one item has the public paths B and C"]);
    }

    #[test]
    fn a_reexport_of_another_of_our_crates_is_found_and_one_of_a_library_is_not() {
        let modules = load(&[(
            "lib.rs",
            "pub use async_trait::async_trait;\npub use brigade_values::Money;\npub use brigade_store::RunStatus;",
        )]);
        let findings = check_library(("a", &modules));
        assert_eq!(whats(&findings), ["pub use brigade_store::RunStatus of another crate"]);
        assert_eq!(findings[0].place, "a/src/lib.rs:3");
    }

    #[test]
    fn too_many_public_items_of_the_core_are_found() {
        let items = |count| (0..count).map(|index| format!("pub struct Item{index};")).collect::<Vec<_>>().join("\n");
        let most = items(MAX_CORE_ITEMS) + "pub mod testing;";
        let core = load(&[("lib.rs", &most), ("testing.rs", "pub struct Fake;")]);
        assert_eq!(check_library(("brigade-core", &core)), []);
        let core = load(&[("lib.rs", &items(MAX_CORE_ITEMS + 1))]);
        assert_eq!(whats(&check_library(("brigade-core", &core))), ["111 public items, 110 are allowed"]);
    }

    #[test]
    fn types_of_one_name_in_two_libraries_are_found_and_functions_are_not() {
        let one =
            load(&[("lib.rs", "mod a; pub use a::{Limits, open};"), ("a.rs", "pub struct Limits; pub fn open() {}")]);
        let other = load(&[("lib.rs", "pub enum Limits {}\npub fn open() {}")]);
        let findings = same_types(&[("a", &one), ("b", &other)]);
        assert_eq!(whats(&findings), ["the public type Limits is also one of b"]);
    }
}
