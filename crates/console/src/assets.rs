//! The files of the page.

use std::{fmt::Write as _, sync::LazyLock};

use sha2::{Digest, Sha256};

/// A file below the folder with the content hash.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

macro_rules! assets {
    ($($name:literal),+ $(,)?) => {
        [$(Asset { name: $name, text: include_str!(concat!("../web/", $name)) }),+]
    };
}

/// The page. [`PLACE_OF_ASSETS`] stands for the address of the other files.
pub(crate) const PAGE: &str = include_str!("../web/index.html");

pub(crate) const PLACE_OF_ASSETS: &str = "ASSETS";

pub(crate) static ASSETS: [Asset; 21] = assets![
    "agents.js",
    "api.js",
    "app.js",
    "approvals.js",
    "console.css",
    "format.js",
    "icons.js",
    "money.js",
    "parts.js",
    "route.js",
    "run.js",
    "runs.js",
    "spans.js",
    "try.js",
    "vendor/LICENSE-htm.txt",
    "vendor/LICENSE-preact.txt",
    "vendor/hooks.js",
    "vendor/htm.js",
    "vendor/preact.js",
    "view.js",
    "waterfall.js",
];

impl Asset {
    pub(crate) fn content_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        }
    }
}

/// A hash of all files: modules import each other by relative addresses, so they share one folder.
pub(crate) fn content_hash() -> &'static str {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let mut hash = Sha256::new();
        for text in ASSETS.iter().flat_map(|asset| [asset.name, asset.text]).chain([PAGE]) {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        hash.finalize().iter().take(8).fold(String::new(), |mut digits, byte| {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    });
    &HASH
}
