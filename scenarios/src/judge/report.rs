//! The table of results.

use std::fmt;

use brigade_rehearsal::WireDialect;
use parking_lot::Mutex;

use crate::{
    judge::judge::Violation,
    scenario::{observation::Observation, scenario::Scenario},
};

/// The result of one scenario in one dialect.
#[derive(Debug, Clone)]
pub struct ReportRow {
    id: String,
    title: String,
    verdict: &'static str,
    seconds: f64,
    requests: usize,
    booked: String,
    billed: String,
}

/// Collects the rows of one test program, and formats them when all have arrived.
#[derive(Debug, Default)]
pub struct Report {
    rows: Mutex<Vec<ReportRow>>,
}

impl ReportRow {
    /// The row for a scenario that was played.
    pub fn new(scenario: &Scenario, observed: &Observation, violations: &[Violation]) -> Self {
        let dialect = match observed.dialect {
            WireDialect::OpenaiChat => "chat",
            WireDialect::OpenaiResponses => "responses",
            WireDialect::Anthropic => "anthropic",
        };
        Self {
            id: format!("{} {dialect}", scenario.id),
            title: scenario.title.to_owned(),
            verdict: if violations.is_empty() { "holds" } else { "BROKEN" },
            seconds: observed.elapsed.as_secs_f64(),
            requests: observed.calls.len(),
            booked: observed.spending.total().to_string(),
            billed: observed.billed.to_string(),
        }
    }
}

impl Report {
    /// An empty report.
    pub const fn new() -> Self {
        Self { rows: Mutex::new(Vec::new()) }
    }

    /// Adds a row. Returns the whole table if this was the last of `total` rows.
    pub fn add(&self, row: ReportRow, total: usize) -> Option<String> {
        let mut rows = self.rows.lock();
        rows.push(row);
        (rows.len() == total).then(|| {
            rows.sort_by(|one, other| one.id.cmp(&other.id));
            let broken = rows.iter().filter(|row| row.verdict != "holds").count();
            let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
            format!("{}\n{} runs of scenarios, {broken} broken", lines.join("\n"), rows.len())
        })
    }
}

impl fmt::Display for ReportRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, title, verdict, seconds, requests, booked, billed } = self;
        write!(
            f,
            "{id:<34} {verdict:<6} {seconds:>9.3} s {requests:>4} requests  booked {booked:>9}  billed {billed:>9}  {title}"
        )
    }
}
