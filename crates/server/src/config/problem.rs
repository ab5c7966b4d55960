//! What is wrong with a configuration, and where.

use std::{fmt, ops::Range};

use super::{
    reference::LITERAL_SECRET,
    sources::{Place, Sources},
};

/// Something wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(super) message: String,
    pub(super) span: Option<Range<usize>>,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    sources: Sources,
    problems: Vec<Problem>,
}

/// Names that are less alike than this are different names.
const ALIKE: f64 = 0.75;

impl Problem {
    pub(crate) fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span) }
    }

    pub(crate) fn anywhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None }
    }

    /// What the reader of the tree found wrong.
    pub(crate) fn of_toml(error: &toml::de::Error) -> Self {
        Self { message: told(error.message()), span: error.span() }
    }

    /// What is wrong in the file, as far as it may be shown: up to where the problem ends, and nothing that may be a
    /// secret.
    fn quoted<'s>(&self, span: &Range<usize>, sources: &'s Sources) -> Option<&'s str> {
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
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let Problem { message, span } = problem;
            let Some(span) = span else {
                write!(f, "{}: {message}", self.sources.path().display())?;
                continue;
            };
            let place = self.sources.place(span.start);
            write!(f, "{place}: {message}")?;
            if let (Place::File(_, _, column), Some(line)) = (place, problem.quoted(span, &self.sources)) {
                write!(f, "\n    {line}\n    {:>column$}", "^")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A message of the reader, with what to write instead if that can be known.
fn told(message: &str) -> String {
    if message == "invalid socket address syntax" {
        return "this is no address with a port; write one such as \"127.0.0.1:8080\"".to_owned();
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
    format!("there is no {what} `{unknown}` here{}", suggestion(unknown, known.iter().copied()))
}

/// What was probably meant by `name`, as the end of a sentence; or what there is, if little.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let scored = known.iter().map(|&one| (strsim::jaro_winkler(name, one), one));
    match scored.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((score, best)) if score >= ALIKE => format!("; did you mean `{best}`?"),
        Some(_) => {
            format!("; there are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
        None => "; none are configured".to_owned(),
    }
}
