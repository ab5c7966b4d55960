//! The files of the project.

use std::path::Path;

use anyhow::Result;
use xshell::Shell;

/// Hidden folders of the project. All others belong to git, an editor, or another tool.
const HIDDEN_FOLDERS: [&str; 3] = [".cargo", ".ci", ".github"];

/// Paths relative to the root, with `/`, in order.
///
/// The folders are searched without git, so that an unpacked archive can be checked.
pub(crate) fn list(shell: &Shell) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in shell.read_dir(&folder)? {
            let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if !entry.is_dir() {
                // In a git worktree, `.git` is a file.
                files.extend((path != ".git").then_some(path));
            } else if belongs_to_project(name) {
                folders.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn belongs_to_project(folder: &str) -> bool {
    folder != "target" && (!folder.starts_with('.') || HIDDEN_FOLDERS.contains(&folder))
}

/// Whether a file contains only tests.
pub(crate) fn is_test_only(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Whether a file is Rust code.
pub(crate) fn is_rust(path: &str) -> bool {
    has_extension(path, "rs")
}

pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|own| own == extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_project_are_listed_and_build_output_is_not() {
        let shell = Shell::new().expect("a shell");
        shell.change_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let files = list(&shell).expect("the workspace can be read");
        for ours in ["Cargo.toml", ".cargo/config.toml", "xtask/src/main.rs"] {
            assert!(files.iter().any(|file| file == ours), "{ours} is missing");
        }
        assert!(!files.iter().any(|file| file.starts_with("target/") || file.starts_with(".git/") || file == ".git"));
    }
}
