//! The README's table of patterns.

use crate::team::{Answer, Team, metric};

const README: &str = include_str!("../../../README.md");
const PROGRAM: &str = include_str!("../../examples/production.rs");
const CONFIG: &str = include_str!("../../production.toml");
const TESTS: [&str; 2] = [include_str!("main.rs"), include_str!("../../../crates/server/tests/serve/production.rs")];

const PATTERNS: [&str; 12] = [
    "trace ids in structured logs",
    "token budget and cost tracking",
    "rate limiting",
    "graceful degradation",
    "health checks and readiness",
    "*trusting an agent to stop itself*",
    "*not trimming memory*",
    "*passing all tools to all agents*",
    "*no timeout on worker calls*",
    "*logging only in development*",
    "*not seeing what the framework does*",
    "all of it together",
];

/// A row of the table. The code of its cells is between backticks.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pattern: String,
    rust: Vec<String>,
    toml: Vec<String>,
    /// Names of metrics, and parts of log lines.
    seen: Vec<String>,
    tests: Vec<String>,
}

/// The row of a test.
pub(crate) fn row(test: &str) -> Row {
    let row = rows().into_iter().find(|row| row.tests.iter().any(|name| name == test));
    row.unwrap_or_else(|| panic!("no row of the README's table names the test {test}"))
}

fn rows() -> Vec<Row> {
    let section = README.split_once("\n## The patterns at a glance\n").unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
        let [pattern, rust, toml, seen, tests] = cells[..] else { panic!("five cells: {line}") };
        let [rust, toml, seen, tests] = [rust, toml, seen, tests].map(codes);
        Row { pattern: pattern.trim().to_owned(), rust, toml, seen, tests }
    })
    .collect()
}

/// The texts between backticks.
fn codes(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether the line contains the parts of the pattern in this order. `…` stands for any text between them.
fn contains(line: &str, pattern: &str) -> bool {
    pattern.split('…').try_fold(line, |rest, part| Some(rest.split_once(part)?.1)).is_some()
}

impl Row {
    /// Asserts that the run wrote the row's log lines, with its trace id, and moved the row's metrics.
    pub(crate) async fn assert_seen(&self, team: &Team, run: &Answer) {
        self.assert_seen_in(&team.log_of(run), &team.metrics().await);
    }

    /// The same with other lines.
    pub(crate) fn assert_seen_in(&self, log: &str, metrics: &str) {
        assert!(!self.seen.is_empty(), "{}: the row names no log line and no metric", self.pattern);
        for seen in &self.seen {
            if seen.starts_with("brigade_") {
                assert!(metric(metrics, seen) > 0.0, "{}: {seen} does not move: {metrics}", self.pattern);
            } else {
                assert!(
                    log.lines().any(|line| contains(line, seen)),
                    "{}: no line contains {seen}: {log}",
                    self.pattern
                );
            }
        }
    }
}

#[test]
fn the_table_has_a_row_for_each_pattern() {
    let patterns: Vec<_> = rows().into_iter().map(|row| row.pattern).collect();
    assert_eq!(patterns, PATTERNS);
}

#[test]
fn the_cells_of_the_table_are_cut_from_the_tested_files() {
    assert!(PROGRAM.lines().count() <= 80, "the README promises 80 lines");
    for row in rows() {
        for (codes, file, name) in [(&row.rust, PROGRAM, "production.rs"), (&row.toml, CONFIG, "production.toml")] {
            assert!(!codes.is_empty(), "{}: a cell without code", row.pattern);
            for code in codes {
                let is_there = code == name || file.lines().any(|line| line.contains(code.as_str()));
                assert!(is_there, "{}: no line of {name} contains {code}", row.pattern);
            }
        }
    }
}

#[test]
fn each_row_names_a_test_that_asserts_what_is_seen() {
    for row in rows() {
        assert!(!row.tests.is_empty(), "{}: no test", row.pattern);
        let asserts = row.tests.iter().any(|test| {
            let body = TESTS.iter().find_map(|file| file.split_once(&format!("fn {test}()")));
            let body = body.unwrap_or_else(|| panic!("{}: there is no test {test}", row.pattern)).1;
            let body = body.split_once("\n}\n").unwrap().0;
            body.contains("assert_seen")
        });
        assert!(asserts, "{}: no test asserts what is seen", row.pattern);
    }
}
