//! The report: a table, the differences in words, and both as Markdown or JSON.

use std::{fmt::Write as _, iter};

use brigade_core::Money;
use serde_json::{Value, json};

use super::{
    check::LiveCheck,
    facts::{Difference, Verdict},
    target::{Target, dialect_name},
};

/// The verdicts on all targets.
#[derive(Debug, Default)]
pub(super) struct LiveReport {
    pub(super) trials: Vec<Trial>,
    pub(super) spent: Money,
}

/// The verdicts on one target, in the order of the checks.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) target: Target,
    pub(super) verdicts: Vec<Verdict>,
}

impl LiveReport {
    pub(super) fn has_failed(&self) -> bool {
        self.verdicts().any(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    pub(super) fn has_findings(&self) -> bool {
        self.verdicts().any(|verdict| matches!(verdict, Verdict::Failed(_) | Verdict::Differs(_)))
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.trials.iter().flat_map(|trial| &trial.verdicts)
    }

    /// The table: a row for each check, a column for each target.
    pub(super) fn table(&self) -> String {
        let rows = self.rows();
        let widths: Vec<usize> = (0..=self.trials.len())
            .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default())
            .collect();
        let mut table = String::new();
        for row in rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(table, "{}", cells.join("  ").trim_end());
        }
        table
    }

    /// The head of the table and its rows.
    fn rows(&self) -> Vec<Vec<String>> {
        let head = iter::once("check".to_owned()).chain(self.trials.iter().map(|trial| trial.target.label())).collect();
        let rows = LiveCheck::ALL.iter().enumerate().map(|(position, check)| {
            let cell = |trial: &Trial| trial.verdicts.get(position).map_or("", Verdict::name).to_owned();
            iter::once(check.name().to_owned()).chain(self.trials.iter().map(cell)).collect()
        });
        iter::once(head).chain(rows).collect()
    }

    /// What is not `ok`, in sentences. Checks with the same result for the same reason share them.
    pub(super) fn details(&self) -> String {
        let mut text = String::new();
        for trial in self.trials.iter().filter(|trial| trial.verdicts.iter().any(|verdict| *verdict != Verdict::Ok)) {
            let mut findings: Vec<(Vec<&str>, &Verdict)> = Vec::new();
            for (check, verdict) in LiveCheck::ALL.iter().zip(&trial.verdicts).filter(|(_, it)| **it != Verdict::Ok) {
                match findings.last_mut() {
                    Some((checks, last)) if *last == verdict => checks.push(check.name()),
                    _ => findings.push((vec![check.name()], verdict)),
                }
            }
            let _ = writeln!(text, "\n{}:", trial.target.title());
            for (checks, verdict) in findings {
                for detail in verdict.details() {
                    let _ = writeln!(text, "- {}, {}: {detail}", checks.join(", "), verdict.name());
                }
            }
        }
        text
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# Providers compared with the simulator of Brigade {}\n\n", env!("CARGO_PKG_VERSION"));
        for (position, row) in self.rows().iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if position == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        let _ = writeln!(text, "\nSpent: {}\n{}", self.spent, self.details());
        text
    }

    pub(super) fn json(&self) -> Value {
        let difference =
            |found: &Difference| json!({ "fact": found.fact, "found": found.found, "simulator": found.simulator });
        let check = |(check, verdict): (&LiveCheck, &Verdict)| match verdict {
            Verdict::Ok => json!({ "check": check.name(), "result": verdict.name() }),
            Verdict::Differs(found) => {
                let differences: Vec<Value> = found.iter().map(difference).collect();
                json!({ "check": check.name(), "result": verdict.name(), "differences": differences })
            }
            Verdict::NotOffered(why) | Verdict::Failed(why) | Verdict::NotRun(why) => {
                json!({ "check": check.name(), "result": verdict.name(), "reason": why })
            }
        };
        let trial = |trial: &Trial| {
            json!({
                "provider": trial.target.name,
                "dialect": dialect_name(trial.target.dialect),
                "model": trial.target.model,
                "checks": LiveCheck::ALL.iter().zip(&trial.verdicts).map(check).collect::<Vec<_>>(),
            })
        };
        json!({
            "brigade": env!("CARGO_PKG_VERSION"),
            "spent_usd": self.spent,
            "trials": self.trials.iter().map(trial).collect::<Vec<_>>(),
        })
    }
}
