//! Where the values of a configuration stand: in its file, or in a variable of the environment.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A file and the variables above it, as one text: places within the file are bytes of it, places beyond its end are
/// variables, one byte each.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    path: PathBuf,
    text: String,
    variables: Vec<String>,
}

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A line and a column of the file, counted from 1.
    File(&'a Path, usize, usize),
    /// A variable of the environment.
    Variable(&'a str),
}

impl Sources {
    pub(crate) fn new(path: &Path, text: &str, variables: Vec<String>) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), variables }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The place of a variable, by its number.
    pub(crate) fn of_variable(&self, number: usize) -> usize {
        self.text.len() + 1 + number
    }

    /// Where this byte stands.
    pub(crate) fn place(&self, byte: usize) -> Place<'_> {
        let variable = byte.checked_sub(self.text.len() + 1).and_then(|number| self.variables.get(number));
        if let Some(variable) = variable {
            return Place::Variable(variable);
        }
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::File(&self.path, line, column)
    }

    /// The line of the file in which this byte stands, up to the byte `end`.
    pub(crate) fn line(&self, byte: usize, end: usize) -> Option<&str> {
        let start = self.text.get(..byte)?.rfind('\n').map_or(0, |line_break| line_break + 1);
        self.text.get(start..end.min(self.text.len()))?.lines().next()
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line, column) => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}
