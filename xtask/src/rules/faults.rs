//! `docs/faults.md` lists faults and the tests that hold them. Each test that it names must exist, and the rows are in order.

use std::collections::HashSet;

use crate::rules::finding::Finding;
use crate::source::files;

pub(crate) const FAULTS: &str = "docs/faults.md";

/// The names of all functions in the Rust files of the project. Tests are functions.
#[derive(Debug, Default)]
pub(crate) struct Functions(HashSet<String>);

impl Functions {
    /// Collects the names of the functions in a Rust file.
    pub(crate) fn add(&mut self, path: &str, text: &str) {
        if files::is_rust(path) {
            self.0.extend(text.split("fn ").skip(1).map(identifier).filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }

    /// A finding for each row of the list that names no test or a test that does not exist, and for each that is out of
    /// order or there twice.
    pub(crate) fn check(&self, list: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut previous = None;
        for (index, row) in list.lines().enumerate().filter(|(_, line)| is_row(line)) {
            findings.extend(self.check_row(index + 1, row));
            let number = number(row);
            if number <= previous {
                let place = format!("{FAULTS}:{}", index + 1);
                findings.push(Finding::new(place, "the row is out of order or there twice", "sort the rows by number"));
            }
            previous = number;
        }
        findings
    }

    fn check_row(&self, line: usize, row: &str) -> Vec<Finding> {
        let tests: Vec<&str> = tests(row).collect();
        if tests.is_empty() {
            let found =
                Finding::new(format!("{FAULTS}:{line}"), "the row names no test", "name one in its last column");
            return vec![found];
        }
        let missing = tests.into_iter().filter(|name| !self.0.contains(*name));
        let finding = |name| {
            let what = format!("there is no test `{name}`");
            Finding::new(format!("{FAULTS}:{line}"), what, "name the test that holds this fault")
        };
        missing.map(finding).collect()
    }
}

/// A row starts with the number of a fault, such as `| A1 |`.
fn is_row(line: &str) -> bool {
    let first = line.trim_start_matches("| ");
    first.len() < line.len()
        && first.starts_with(|first: char| first.is_ascii_uppercase())
        && first.chars().nth(1).is_some_and(|second| second.is_ascii_digit())
}

/// The letter and the number of a row.
fn number(row: &str) -> Option<(char, u32)> {
    let id = row.trim_start_matches("| ").split(' ').next()?;
    let letter = id.chars().next()?;
    Some((letter, id.trim_start_matches(letter).parse().ok()?))
}

/// The names in backticks in the last column of a row.
fn tests(row: &str) -> impl Iterator<Item = &str> {
    let last = row.trim_end().trim_end_matches('|').rsplit(" | ").next().unwrap_or_default();
    last.split('`').skip(1).step_by(2)
}

fn identifier(text: &str) -> &str {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str) -> Vec<String> {
        let mut functions = Functions::default();
        functions.add("a.rs", "#[test]\nfn one_key_cannot_read_another() {}\nasync fn waits<T>() {}");
        functions.add("a.md", "fn only_in_prose()");
        functions.check(list).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_are_in_the_order_of_their_numbers() {
        let row = |number: &str| format!("| {number} | Wrong. | `waits` |\n");
        assert_eq!(found(&[row("A2"), row("A10"), row("B1")].concat()), [""; 0]);
        let error = "docs/faults.md:2: the row is out of order or there twice: sort the rows by number";
        assert_eq!(found(&[row("A10"), row("A2")].concat()), [error]);
        assert_eq!(found(&[row("A2"), row("A2")].concat()), [error]);
    }

    #[test]
    fn rows_whose_tests_exist_pass() {
        assert_eq!(
            found("| # | what | tests |\n|---|---|---|\n| A1 | wrong | `one_key_cannot_read_another`, `waits` |\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_missing_test_and_a_row_without_tests_are_found() {
        let found = found("# List\n| A1 | wrong | `only_in_prose` |\n| B12 | `waits` is not a test here | none |\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|finding| finding.contains("docs/faults.md:2")), "{found:?}");
        assert!(found.iter().any(|finding| finding.contains("docs/faults.md:3: the row names no test")), "{found:?}");
    }
}
