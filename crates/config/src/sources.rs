//! Maps values of a configuration to their locations in the file or the environment.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A file and the environment variables that override it. Offsets up to the end of the file are byte positions. Each offset
/// beyond the end stands for one variable.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    path: PathBuf,
    text: String,
    variables: Vec<String>,
}

/// Where a value was set. Lines and columns start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location<'a> {
    File { path: &'a Path, line: usize, column: usize },
    Variable(&'a str),
}

impl Sources {
    pub(crate) fn new(path: &Path, text: &str, variables: Vec<String>) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), variables }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The offset that stands for a variable.
    pub(crate) fn variable_offset(&self, index: usize) -> usize {
        self.text.len() + 1 + index
    }

    pub(crate) fn location(&self, offset: usize) -> Location<'_> {
        let variable = offset.checked_sub(self.text.len() + 1).and_then(|index| self.variables.get(index));
        if let Some(variable) = variable {
            return Location::Variable(variable);
        }
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Location::File { path: &self.path, line, column }
    }

    /// The line of the file that contains an offset, up to the offset `end`.
    pub(crate) fn line(&self, offset: usize, end: usize) -> Option<&str> {
        let start = self.text.get(..offset)?.rfind('\n').map_or(0, |line_break| line_break + 1);
        self.text.get(start..end.min(self.text.len()))?.lines().next()
    }
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}
