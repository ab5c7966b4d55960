//! Problems in a configuration and their locations.

use std::{fmt, ops::Range};

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

/// Names that are less similar than this are not suggested.
const MIN_SIMILARITY: f64 = 0.75;

impl Problem {
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span) }
    }

    pub(crate) fn without_location(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None }
    }

    pub(crate) fn from_toml(error: &toml::de::Error) -> Self {
        Self { message: improve(error.message()), span: error.span() }
    }

    /// The line of the file up to the end of the problem, unless it may contain a secret.
    fn quote<'s>(&self, span: &Range<usize>, sources: &'s Sources) -> Option<&'s str> {
        let line = sources.line(span.start, span.end)?;
        (!self.message.starts_with(LITERAL_SECRET) && !line.contains("key")).then_some(line)
    }
}

impl ConfigError {
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

/// Adds a suggestion to a message of the TOML parser.
fn improve(message: &str) -> String {
    if message == "invalid socket address syntax" {
        return "this is not an address with a port; write one such as \"127.0.0.1:8080\"".to_owned();
    }
    // unknown field `modle`, expected one of `model`, `tools`
    let (what, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
        ("key", rest)
    } else if let Some(rest) = message.strip_prefix("unknown variant `") {
        ("choice", rest)
    } else {
        return message.to_owned();
    };
    let unknown = rest.split('`').next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    format!("unknown {what} `{unknown}`{}", suggestion(unknown, known.iter().copied()))
}

/// The end of a message about an unknown name: the most similar known name, or all of them.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let scored = known.iter().map(|&candidate| (strsim::jaro_winkler(name, candidate), candidate));
    match scored.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((score, best)) if score >= MIN_SIMILARITY => format!("; did you mean `{best}`?"),
        Some(_) => {
            format!("; expected one of {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
        None => "; none is configured".to_owned(),
    }
}
