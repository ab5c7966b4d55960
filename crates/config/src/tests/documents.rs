//! Every TOML block in `docs/` is a configuration that is valid.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::LoadedConfig;

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The blocks with exactly this text after the fence.
fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fence = format!("\n```{language}\n");
    let starts: Vec<usize> = text.match_indices(&fence).map(|(at, fence)| at + fence.len()).collect();
    starts.into_iter().map(move |start| text[start..].split("```").next().unwrap_or_default())
}

#[test]
fn every_configuration_in_the_documentation_is_valid() {
    let mut paths = Vec::new();
    pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs"), &mut paths);
    let mut count = 0;
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for block in blocks(&text, "toml") {
            let loaded = LoadedConfig::parse(&path, block, []);
            assert!(loaded.is_ok(), "{}\nin the block:\n{block}", loaded.unwrap_err());
            count += 1;
        }
        for manifest in blocks(&text, "toml,manifest") {
            assert!(manifest.parse::<toml::Table>().is_ok_and(|table| table.contains_key("dependencies")));
        }
    }
    assert!(count >= 10, "only {count} blocks were found");
}
