//! Problems in a configuration and their locations.

use std::{fmt, ops::Range, path::Path};

use brigade_edge::reword;

use super::{
    reference::LITERAL_SECRET,
    sources::{Location, Sources},
};

/// A problem in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(super) message: String,
    pub(super) span: Option<Range<usize>>,
}

/// A configuration that is not valid. Its message lists all problems with their locations.
#[derive(Debug)]
pub struct ConfigError {
    sources: Sources,
    problems: Vec<Problem>,
}

impl Problem {
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span) }
    }

    pub(crate) fn without_location(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None }
    }

    /// An error of the TOML parser in `text`.
    pub(crate) fn from_toml(error: &toml::de::Error, text: &str) -> Self {
        let span = error.span();
        let message = match (error.message(), &span) {
            ("duplicate key", Some(second)) => {
                let line = first_line_of(text, second).map(|line| format!(", first in line {line}"));
                format!("this is there twice{}; remove one of the two", line.unwrap_or_default())
            }
            (message, _) => reword(message),
        };
        Self { message, span }
    }

    /// The line of the file up to the end of the problem, unless it may contain a secret.
    fn quote<'s>(&self, span: &Range<usize>, sources: &'s Sources) -> Option<&'s str> {
        let line = sources.line(span.start, span.end)?;
        (!self.message.starts_with(LITERAL_SECRET) && !line.contains("key")).then_some(line)
    }
}

impl ConfigError {
    /// An error of the parser in another TOML file, in the words of this crate.
    pub fn of_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        Self::new(Sources::new(path, text, Vec::new()), vec![Problem::from_toml(error, text)])
    }

    pub(crate) fn new(sources: Sources, problems: Vec<Problem>) -> Self {
        Self { sources, problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Problem { message, span } = problem;
            let Some(span) = span else {
                write!(f, "{}: {message}", self.sources.path().display())?;
                continue;
            };
            let location = self.sources.location(span.start);
            write!(f, "{location}: {message}")?;
            if let (Location::File { column, .. }, Some(line)) = (location, problem.quote(span, &self.sources)) {
                write!(f, "\n    {line}\n    {:>column$}", "^")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The line of the first of two equal keys. A table is found by its header, another key only within its table.
fn first_line_of(text: &str, second: &Range<usize>) -> Option<usize> {
    let before = text.get(..second.end)?;
    let (above, key) = before.split_at(before.rfind('\n')? + 1);
    let key = key.trim_start();
    let mut first = None;
    for (number, line) in (1..).zip(above.lines().map(str::trim_start)) {
        if line.starts_with('[') && !key.starts_with('[') {
            first = None;
        }
        let is_same = line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', '.', ']']));
        first = first.or(is_same.then_some(number));
    }
    first
}
