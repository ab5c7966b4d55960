//! The modules of one crate, and the item that a path in one of them names.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::source::scan::{Contents, Import, Item, PathUse, scan};

/// The names from the crate's root down to a module; empty for the root itself.
pub(crate) type ModulePath = Vec<String>;

/// The crate's root and the root files are one node of the folders' graph.
pub(crate) const ROOT: &str = "(root)";

/// Re-exports may lead to re-exports; a circle of them ends here.
const MAX_REEXPORTS: usize = 16;

/// All modules that a root file leads to, without tests.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    modules: BTreeMap<ModulePath, Module>,
}

/// One module.
#[derive(Debug)]
pub(crate) struct Module {
    /// Relative to the workspace.
    pub(crate) file: String,
    /// The line of its `mod` in the parent's file, if it is declared with `pub mod`.
    pub(crate) public_at: Option<usize>,
    pub(crate) imports: Vec<Import>,
    pub(crate) items: Vec<Item>,
    pub(crate) paths: Vec<PathUse>,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    /// The module that defines it.
    pub(crate) module: ModulePath,
    /// The item; absent if the path names the module.
    pub(crate) item: Option<String>,
}

impl Modules {
    /// Follows the `mod` declarations from `root`. `read` returns the text of a file, or `None` if there is no such file.
    pub(crate) fn load(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut modules = Self::default();
        let text = read(root).with_context(|| format!("reading {root}"))?;
        let contents = scan(&text).with_context(|| root.to_owned())?;
        let folder = parent(root);
        modules.insert(Place { path: Vec::new(), file: root.to_owned(), folder, public_at: None }, contents, read)?;
        Ok(modules)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ModulePath, &Module)> {
        self.modules.iter()
    }

    pub(crate) fn get(&self, path: &[String]) -> Option<&Module> {
        self.modules.get(path)
    }

    /// The folder of `src/` that holds a module: the module's first name if that module has files of its own below it.
    pub(crate) fn folder<'a>(&self, module: &'a [String]) -> &'a str {
        let Some(first) = module.first() else { return ROOT };
        let has_files = |(path, other): (&ModulePath, &Module)| {
            path.first() == Some(first) && (path.len() > 1 || other.file.ends_with("/mod.rs"))
        };
        if self.modules.iter().any(has_files) { first } else { ROOT }
    }

    /// The item that `segments` names when they are written in module `from`; `None` for other crates' items.
    pub(crate) fn resolve(&self, from: &[String], segments: &[String]) -> Option<Named> {
        self.resolve_within(from, segments, MAX_REEXPORTS)
    }

    fn resolve_within(&self, from: &[String], segments: &[String], reexports: usize) -> Option<Named> {
        let (first, mut rest) = segments.split_first()?;
        let mut at = from.to_vec();
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()?),
            name => {
                at.push(name.to_owned());
                self.modules.get(&at)?;
            }
        }
        while let Some((segment, after)) = rest.split_first() {
            if segment == "super" {
                at.pop()?;
            } else {
                at.push(segment.clone());
                if !self.modules.contains_key(&at) {
                    at.pop();
                    return self.item_of(at, segment, reexports);
                }
            }
            rest = after;
        }
        Some(Named { module: at, item: None })
    }

    /// Follows the re-exports of `name` from module `at` to its definition.
    fn item_of(&self, at: ModulePath, name: &str, reexports: usize) -> Option<Named> {
        let module = self.modules.get(&at)?;
        let is_defined = module.items.iter().any(|item| item.name == name);
        let left = reexports.checked_sub(1)?;
        if !is_defined {
            let import = module.imports.iter().find(|import| import.name == name);
            if let Some(import) = import {
                return self.resolve_within(&at, &import.path.segments, left);
            }
            let globs = module.imports.iter().filter(|import| import.name == "*");
            for glob in globs {
                if let Some(Named { module, item: None }) = self.resolve_within(&at, &glob.path.segments, left)
                    && self.modules.get(&module).is_some_and(|module| module.has(name))
                {
                    return self.item_of(module, name, left);
                }
            }
            if let Some(module) = self.exporter_of(name).filter(|_| at.is_empty()) {
                return Some(Named { module, item: Some(name.to_owned()) });
            }
        }
        Some(Named { module: at, item: Some(name.to_owned()) })
    }

    fn exporter_of(&self, macro_name: &str) -> Option<ModulePath> {
        let exports =
            |module: &Module| module.items.iter().any(|item| item.is_exported_macro && item.name == macro_name);
        self.modules.iter().find(|(_, module)| exports(module)).map(|(path, _)| path.clone())
    }

    fn insert(&mut self, place: Place, contents: Contents, read: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for child in contents.children {
            let path: ModulePath = place.path.iter().cloned().chain([child.name.clone()]).collect();
            let public_at = child.is_public.then_some(child.line);
            if let Some(inline) = child.inline {
                let folder = format!("{}/{}", place.folder, child.name);
                self.insert(Place { path, file: place.file.clone(), folder, public_at }, inline, read)?;
                continue;
            }
            let folder = format!("{}/{}", place.folder, child.name);
            let files = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
            let found = files.into_iter().find_map(|file| read(&file).map(|text| (file, text)));
            let (file, text) = found.with_context(|| format!("{}: no file for mod {}", place.file, child.name))?;
            let contents = scan(&text).with_context(|| file.clone())?;
            self.insert(Place { path, file, folder, public_at }, contents, read)?;
        }
        let Contents { imports, items, paths, .. } = contents;
        let Place { path, file, public_at, .. } = place;
        self.modules.insert(path, Module { file, public_at, imports, items, paths });
        Ok(())
    }
}

impl Module {
    fn has(&self, name: &str) -> bool {
        self.items.iter().any(|item| item.name == name) || self.imports.iter().any(|import| import.name == name)
    }
}

/// Where a module lies.
struct Place {
    path: ModulePath,
    file: String,
    /// The folder of its child modules.
    folder: String,
    public_at: Option<usize>,
}

fn parent(file: &str) -> String {
    Path::new(file).parent().unwrap_or(Path::new("")).display().to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A crate of files with their texts, below `a/src`.
    pub(crate) fn load(files: &[(&str, &str)]) -> Modules {
        let read = |file: &str| {
            files.iter().find(|(name, _)| file == format!("a/src/{name}")).map(|(_, text)| (*text).to_owned())
        };
        Modules::load("a/src/lib.rs", &read).unwrap()
    }

    fn names(path: &str) -> Vec<String> {
        path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    #[track_caller]
    fn check_named(modules: &Modules, from: &str, path: &str, expected: &str) {
        let named = modules.resolve(&names(from), &names(path)).unwrap();
        let all: Vec<_> = named.module.into_iter().chain(named.item).collect();
        assert_eq!(all.join("::"), expected);
    }

    #[test]
    fn a_name_is_followed_through_reexports_to_its_definition() {
        let modules = load(&[
            ("lib.rs", "mod money; mod run;\npub use money::Money; pub use run::*;"),
            ("money/mod.rs", "mod amount; pub(crate) use amount::Amount as Money;"),
            ("money/amount.rs", "pub struct Amount;"),
            ("run/mod.rs", "pub struct Run; mod log;"),
            ("run/log.rs", ""),
        ]);
        check_named(&modules, "run::log", "crate::Money", "money::amount::Amount");
        check_named(&modules, "run::log", "crate::Run", "run::Run");
        check_named(&modules, "run::log", "super::super::money", "money");
        check_named(&modules, "money", "amount::Amount", "money::amount::Amount");
        assert_eq!(modules.resolve(&[], &names("std::fmt::Debug")), None);
        assert_eq!(modules.folder(&names("money::amount")), "money");
        assert_eq!(modules.folder(&[]), ROOT);
    }

    #[test]
    fn a_root_file_belongs_to_the_root_and_one_with_files_below_it_to_their_folder() {
        let modules = load(&[
            ("lib.rs", "mod ids; mod log;"),
            ("ids.rs", "#[cfg(test)] mod tests;"),
            ("log.rs", "mod line;"),
            ("log/line.rs", ""),
        ]);
        assert_eq!(modules.folder(&names("ids")), ROOT);
        assert_eq!(modules.folder(&names("log")), "log");
    }

    #[test]
    fn a_circle_of_reexports_ends() {
        let modules = load(&[("lib.rs", "mod a; pub use a::B;"), ("a.rs", "pub use crate::B;")]);
        assert_eq!(modules.resolve(&[], &names("crate::B")), None);
    }
}
