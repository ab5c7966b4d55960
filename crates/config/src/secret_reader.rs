//! Reads the secrets that a configuration refers to.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{SecretOrText, SecretSource};

/// Reads secrets, and keeps the problems, so that one error names all secrets that are missing.
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

/// Stands for a secret that was not read. It is valid wherever a secret is.
const STAND_IN: &str = "missing";

impl<'a> Secrets<'a> {
    /// Reads secrets. `folder` is the base of relative paths.
    pub fn of(folder: &'a Path) -> Self {
        Self { folder, is_read: true, problems: Mutex::default() }
    }

    /// Reads no secrets, for machines without them.
    pub fn unread(folder: &'a Path) -> Self {
        Self { is_read: false, ..Self::of(folder) }
    }

    /// A secret, or a stand-in if it cannot be read. `place` and `hint` are the start of the problem's text.
    pub fn secret(&self, source: &SecretSource, place: &str, hint: &str) -> String {
        self.read(place, hint, || source.read(self.folder))
    }

    /// A text that may be a secret, or a stand-in if it cannot be read.
    pub fn text(&self, text: &SecretOrText, place: &str, hint: &str) -> String {
        self.read(place, hint, || text.read(self.folder))
    }

    fn read(&self, place: &str, hint: &str, read: impl FnOnce() -> Result<String, String>) -> String {
        let result = if self.is_read { read() } else { Ok(STAND_IN.to_owned()) };
        result.unwrap_or_else(|problem| {
            self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{place}: {hint}{problem}"));
            STAND_IN.to_owned()
        })
    }

    /// Fails if secrets could not be read. The error names them all.
    pub fn check(&self) -> Result<(), String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match &problems[..] {
            [] => Ok(()),
            [problem] => Err(problem.clone()),
            problems => Err(format!("{} secrets cannot be read:\n  {}", problems.len(), problems.join("\n  "))),
        }
    }
}
