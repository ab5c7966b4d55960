//! The table of verdicts.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use brigade_rehearsal::WireDialect;

use crate::{judge::Breach, scenario::Scenario, seen::Seen};

/// One scenario in one dialect.
#[derive(Debug, Clone)]
pub struct Row {
    id: String,
    title: String,
    verdict: &'static str,
    seconds: f64,
    requests: usize,
    ours: String,
    truth: String,
}

/// All rows of one program. It prints a closing summary when all scenarios have reported.
#[derive(Debug, Default)]
pub struct Report {
    rows: Mutex<Vec<Row>>,
}

impl Row {
    /// What came of a scenario.
    pub fn new(scenario: &Scenario, seen: &Seen, breaches: &[Breach]) -> Self {
        let dialect = match seen.dialect {
            WireDialect::OpenaiChat => "chat",
            WireDialect::OpenaiResponses => "responses",
            WireDialect::Anthropic => "anthropic",
        };
        Self {
            id: format!("{} {dialect}", scenario.id),
            title: scenario.title.to_owned(),
            verdict: if breaches.is_empty() { "holds" } else { "BROKEN" },
            seconds: seen.elapsed.as_secs_f64(),
            requests: seen.calls.len(),
            ours: seen.spending.total().to_string(),
            truth: seen.truth.to_string(),
        }
    }
}

impl Report {
    /// Without rows.
    pub const fn new() -> Self {
        Self { rows: Mutex::new(Vec::new()) }
    }

    /// Adds a row; answers the whole table if that was the last of `total`.
    pub fn add(&self, row: Row, total: usize) -> Option<String> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push(row);
        (rows.len() == total).then(|| {
            rows.sort_by(|one, other| one.id.cmp(&other.id));
            let broken = rows.iter().filter(|row| row.verdict != "holds").count();
            let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
            format!("{}\n{} performances, {broken} broken", lines.join("\n"), rows.len())
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, title, verdict, seconds, requests, ours, truth } = self;
        write!(
            f,
            "{id:<34} {verdict:<6} {seconds:>9.3} s {requests:>4} requests  ours {ours:>9}  truth {truth:>9}  {title}"
        )
    }
}
