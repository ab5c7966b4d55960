//! Reads the secrets and files that a configuration refers to.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{SecretOrText, SecretSource, TextSource};

/// Reads secrets and files, and keeps the problems, so that one error names all that are missing.
///
/// ```
/// use brigade_config::{SecretSource, Secrets};
///
/// let secrets = Secrets::of(".".as_ref());
/// let source = SecretSource::Env("A_KEY_THAT_IS_NOT_SET".to_owned());
/// let key = secrets.secret(&source, "the provider `lab`", "`api_key`: ");
/// assert!(!key.is_empty(), "it stands for the key, so that everything else can be checked");
/// assert!(secrets.check().unwrap_err().starts_with("the provider `lab`: `api_key`: the environment variable"));
/// ```
#[derive(Debug)]
pub struct Secrets<'a> {
    folder: &'a Path,
    is_read: bool,
    problems: Mutex<Vec<String>>,
}

impl<'a> Secrets<'a> {
    /// Stands for a secret that was not read. It is valid as an API key and as a header.
    pub const STAND_IN: &'static str = "missing";

    /// Reads secrets. `folder` is the base of relative paths.
    pub fn of(folder: &'a Path) -> Self {
        Self { folder, is_read: true, problems: Mutex::default() }
    }

    /// Reads no secrets, for machines without them.
    pub fn unread(folder: &'a Path) -> Self {
        Self { is_read: false, ..Self::of(folder) }
    }

    /// Whether secrets are read.
    pub fn are_read(&self) -> bool {
        self.is_read
    }

    /// A secret, or a stand-in if it cannot be read. `place` and `hint` are the start of the problem's text.
    pub fn secret(&self, source: &SecretSource, place: &str, hint: &str) -> String {
        self.read(place, hint, || source.read(self.folder))
    }

    /// A text that may be a secret, or a stand-in if it cannot be read.
    pub fn text(&self, text: &SecretOrText, place: &str, hint: &str) -> String {
        self.read(place, hint, || text.read(self.folder))
    }

    /// A text that may be in a file. It is empty if the file cannot be read. Files are also read where secrets are not.
    pub fn instructions(&self, text: &TextSource, place: &str, hint: &str) -> String {
        self.keep(place, hint, text.read(self.folder)).unwrap_or_default()
    }

    /// The text of a file, if it can be read.
    pub fn file(&self, path: &Path, place: &str, hint: &str) -> Option<String> {
        let path = self.folder.join(path);
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        self.keep(place, hint, text)
    }

    fn read(&self, place: &str, hint: &str, read: impl FnOnce() -> Result<String, String>) -> String {
        let secret = if self.is_read { self.keep(place, hint, read()) } else { None };
        secret.unwrap_or_else(|| Self::STAND_IN.to_owned())
    }

    /// Keeps the problem, once: an agent that is also a worker is built more than once.
    fn keep(&self, place: &str, hint: &str, result: Result<String, String>) -> Option<String> {
        let problem = match result {
            Ok(text) => return Some(text),
            Err(problem) => format!("{place}: {hint}{problem}"),
        };
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
        None
    }

    /// Fails if secrets or files could not be read. The error names them all.
    pub fn check(&self) -> Result<(), String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match &problems[..] {
            [] => Ok(()),
            [problem] => Err(problem.clone()),
            problems => {
                Err(format!("{} secrets and files cannot be read:\n  {}", problems.len(), problems.join("\n  ")))
            }
        }
    }
}
