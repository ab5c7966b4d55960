//! What is wrong with a configuration, and where.

use std::{fmt, ops::Range, path::PathBuf};

/// Something wrong at a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) span: Option<Range<usize>>,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    path: PathBuf,
    text: String,
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

    /// What the TOML reader found wrong.
    pub(crate) fn of_toml(error: &toml::de::Error) -> Self {
        let message = error.message();
        let Some(rest) = message.strip_prefix("unknown field `") else {
            return Self { message: message.to_owned(), span: error.span() };
        };
        // unknown field `modle`, expected one of `model`, `tools`
        let mut quoted = rest.split('`').step_by(2);
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        let hint = suggestion(unknown, known.iter().copied());
        Self { message: format!("there is no key `{unknown}` here{hint}"), span: error.span() }
    }
}

impl ConfigError {
    pub(crate) fn new(path: impl Into<PathBuf>, text: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self { path: path.into(), text: text.into(), problems }
    }

    /// Line and column of a byte, counted from 1.
    fn place(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { message, span }) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.path.display())?;
            let Some(span) = span else {
                write!(f, ": {message}")?;
                continue;
            };
            let (line, column) = self.place(span.start);
            write!(f, ":{line}:{column}: {message}")?;
            // A line that may hold a key is not repeated.
            if let Some(text) = self.text.lines().nth(line - 1).filter(|text| !text.contains("key")) {
                write!(f, "\n    {text}\n    {:>column$}", "^")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

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
