//! Reads the secrets that a configuration refers to.

use std::path::Path;

use brigade_config::{SecretOrText, SecretSource};
use parking_lot::Mutex;

use super::error::SetupError;

/// Reads secrets, and keeps the problems, so that one error names all secrets that are missing.
#[derive(Debug)]
pub(crate) struct Secrets<'a> {
    folder: &'a Path,
    is_read: bool,
    problems: Mutex<Vec<String>>,
}

/// Stands for a secret that was not read. It is valid wherever a secret is.
const STAND_IN: &str = "missing";

impl<'a> Secrets<'a> {
    /// Reads secrets. `folder` is the base of relative paths.
    pub(crate) fn of(folder: &'a Path) -> Self {
        Self { folder, is_read: true, problems: Mutex::default() }
    }

    /// Reads no secrets, for machines without them.
    pub(crate) fn unread(folder: &'a Path) -> Self {
        Self { is_read: false, ..Self::of(folder) }
    }

    /// A secret, or a stand-in if it cannot be read. `place` and `hint` are the start of the problem's text.
    pub(crate) fn secret(&self, source: &SecretSource, place: &str, hint: &str) -> String {
        self.read(place, hint, || source.read(self.folder))
    }

    /// A text that may be a secret, or a stand-in if it cannot be read.
    pub(crate) fn text(&self, text: &SecretOrText, place: &str, hint: &str) -> String {
        self.read(place, hint, || text.read(self.folder))
    }

    fn read(&self, place: &str, hint: &str, read: impl FnOnce() -> Result<String, String>) -> String {
        let result = if self.is_read { read() } else { Ok(STAND_IN.to_owned()) };
        result.unwrap_or_else(|problem| {
            self.problems.lock().push(format!("{place}: {hint}{problem}"));
            STAND_IN.to_owned()
        })
    }

    /// Fails if secrets could not be read. The error names them all.
    pub(crate) fn check(&self) -> Result<(), SetupError> {
        let problems = self.problems.lock();
        match &problems[..] {
            [] => Ok(()),
            [problem] => Err(SetupError::Invalid(problem.clone())),
            problems => Err(SetupError::Invalid(format!(
                "{} secrets cannot be read:\n  {}",
                problems.len(),
                problems.join("\n  ")
            ))),
        }
    }
}
