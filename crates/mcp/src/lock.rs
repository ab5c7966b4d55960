//! `brigade.lock`: the tools that a person has read.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    definition::{ToolDefinition, digest},
    visible::is_invisible,
};

/// The tools of MCP servers that a person has read, from a file such as `brigade.lock`. It belongs into version control.
///
/// ```
/// use brigade_mcp::{LockFile, ToolDefinition};
/// use serde_json::json;
///
/// let mut lock = LockFile::default();
/// lock.pin("github", vec![ToolDefinition::new("get_issue", "Returns an issue.", json!({ "type": "object" }))]);
/// assert_eq!(lock.tools("github").map(<[_]>::len), Some(1));
/// assert_eq!(LockFile::parse(&lock.to_text())?, lock);
/// # Ok::<(), brigade_mcp::LockError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    version: u32,
    mcp: BTreeMap<String, PinnedServer>,
}

/// The tools of one server that a person has read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PinnedServer {
    sha256: String,
    tools: Vec<ToolDefinition>,
}

/// A lock file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It cannot be read or written.
    #[error("cannot access {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is not what `brigade mcp pin` writes.
    #[error("the lock file is not valid: {0}; write it again with `brigade mcp pin`")]
    Invalid(String),
}

/// The form of the file.
const VERSION: u32 = 1;

impl LockFile {
    /// Reads a file. A file that does not exist has no pinned tools.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or was changed by hand.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(LockError::Io { path: path.to_owned(), source }),
        }
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    ///
    /// The text is not what [`to_text`](Self::to_text) returns.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = serde_json::from_str(text).map_err(|error| LockError::Invalid(error.to_string()))?;
        if lock.version != VERSION {
            let version = lock.version;
            return Err(LockError::Invalid(format!("it has the version {version}, this program reads {VERSION}")));
        }
        for (server, pinned) in &lock.mcp {
            if digest(&pinned.tools) != pinned.sha256 {
                let why = format!("the tools of `{server}` do not match their sha256, so they were changed by hand");
                return Err(LockError::Invalid(why));
            }
        }
        Ok(lock)
    }

    /// The text of the file. Invisible characters are escaped, so that a reader finds them.
    pub fn to_text(&self) -> String {
        let lock = Self { version: VERSION, ..self.clone() };
        let text = serde_json::to_string_pretty(&lock).unwrap_or_default();
        let mut escaped = String::with_capacity(text.len() + 1);
        for char in text.chars() {
            if is_invisible(char) {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            } else {
                escaped.push(char);
            }
        }
        escaped.push('\n');
        escaped
    }

    /// Writes the file. It has its former text, or all of the new one, also if this process ends meanwhile.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        replace(path, &self.to_text()).map_err(|source| LockError::Io { path: path.to_owned(), source })
    }

    /// The pinned tools of a server; absent if none were pinned.
    pub fn tools(&self, server: &str) -> Option<&[ToolDefinition]> {
        self.mcp.get(server).map(|pinned| &*pinned.tools)
    }

    /// Pins the tools of a server, in place of the ones before.
    pub fn pin(&mut self, server: &str, mut tools: Vec<ToolDefinition>) {
        tools.sort_by(|one, other| one.name.cmp(&other.name));
        self.version = VERSION;
        self.mcp.insert(server.to_owned(), PinnedServer { sha256: digest(&tools), tools });
    }

    /// The names of the servers with pinned tools.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.mcp.keys().map(String::as_str)
    }

    /// Removes the servers for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.mcp.retain(|server, _| keep(server));
    }
}

/// Replaces a file, by way of another one beside it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if let Ok(former) = fs::metadata(&path) {
            file.set_permissions(former.permissions())?;
        }
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, &path)).inspect_err(|_| {
        // The error is the one of the file itself.
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lock() -> LockFile {
        let mut lock = LockFile::default();
        let tool = |name: &str| ToolDefinition::new(name, "Reads.\u{200b}\u{e0041}", json!({"type": "object"}));
        lock.pin("github", vec![tool("b"), tool("a")]);
        lock
    }

    #[test]
    fn a_file_keeps_every_character_and_shows_the_invisible_ones() {
        let text = lock().to_text();
        assert!(text.contains("Reads.\\u200b\\udb40\\udc41"), "{text}");
        assert_eq!(LockFile::parse(&text).unwrap(), lock());
    }

    #[test]
    fn a_file_changed_by_hand_is_refused() {
        let text = lock().to_text().replace("Reads.", "Writes.");
        let error = LockFile::parse(&text).unwrap_err().to_string();
        assert!(error.contains("`github` do not match their sha256") && error.contains("brigade mcp pin"), "{error}");
        assert!(LockFile::parse(&lock().to_text().replace("\"version\": 1", "\"version\": 2")).is_err());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("brigade.lock");
        lock().write(&path).unwrap();
        // A reader that has opened the former file still reads all of it.
        let mut former = fs::File::open(&path).unwrap();
        LockFile::default().write(&path).unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut former, &mut text).unwrap();
        assert_eq!(LockFile::parse(&text).unwrap(), lock());
        assert_eq!(LockFile::read(&path).unwrap().servers().count(), 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(lock().write(&folder.path().join("missing/brigade.lock")).is_err());
    }

    #[test]
    fn a_file_that_does_not_exist_pins_nothing() {
        let lock = LockFile::read(Path::new("/does/not/exist/brigade.lock")).unwrap();
        assert_eq!(lock.tools("github"), None);
    }
}
