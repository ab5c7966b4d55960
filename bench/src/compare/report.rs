//! The results, as text and as JSON.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::compare::contender::Contender;
use crate::compare::each::Each;
use crate::workload::Workload;

/// The contenders, in the order of the columns.
const FORMS: &str = "\
by hand: a loop on reqwest and serde_json, without retries, budgets or events
bare: Brigade's agents on a bare client
wrappers: with Fallback ▸ Retry ▸ Breaker ▸ RateLimit ▸ Timeout ▸ Metered(PriceBook) around each model
production: with a log at INFO to a file, metrics, and budgets of process and agent, too
stored: with a SQLite store in which each answer's cost is on disk before it is passed on, too";

/// The results of all workloads.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workloads: Vec<Comparison>,
}

/// All contenders with one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: Workload,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
}

/// One measurement of all contenders.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) values: Each<f64>,
    /// The values as multiples of the hand-written loop's.
    pub(crate) ratios: Each<f64>,
    pub(crate) targets: Vec<TargetCheck>,
}

/// Whether a form of Brigade meets its target.
#[derive(Debug, Serialize)]
pub(crate) struct TargetCheck {
    pub(crate) form: &'static str,
    pub(crate) target: Target,
    pub(crate) met: bool,
}

/// The target for Brigade.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// At most this multiple of the hand-written loop's number.
    Ratio(f64),
    /// At most this number.
    Value(f64),
}

impl Row {
    pub(crate) fn new(name: &'static str, values: Each<f64>) -> Self {
        let ratios = values.map(|value| value / values.hand_written);
        Self { name, values, ratios, targets: Vec::new() }
    }

    pub(crate) fn at_most(mut self, contender: Contender, target: Target) -> Self {
        let met = match target {
            Target::Ratio(most) => *self.ratios.get(contender) <= most,
            Target::Value(most) => *self.values.get(contender) <= most,
        };
        let form = match contender {
            Contender::Bare => "bare",
            Contender::Wrappers => "wrappers",
            Contender::Production => "production",
            Contender::Stored => "stored",
            Contender::HandWritten => "by hand",
        };
        self.targets.push(TargetCheck { form, target, met });
        self
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FORMS}")?;
        self.workloads.iter().try_for_each(|comparison| write!(f, "\n{comparison}"))
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { workload, rounds, rows } = self;
        writeln!(f, "{} · {}", workload.name(), workload.about())?;
        writeln!(f, "  medians of {rounds} interleaved rounds")?;
        writeln!(
            f,
            "  {:<32}{:>9}{:>16}{:>16}{:>16}{:>16}   targets",
            "", "by hand", "bare", "wrappers", "production", "stored"
        )?;
        rows.iter().try_for_each(|row| writeln!(f, "  {row}"))
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32}{:>9}", self.name, number(self.values.hand_written))?;
        for contender in [Contender::Bare, Contender::Wrappers, Contender::Production, Contender::Stored] {
            write!(f, "{:>9}{:>6.2}×", number(*self.values.get(contender)), self.ratios.get(contender))?;
        }
        for TargetCheck { form, target, met } in &self.targets {
            let limit = match target {
                Target::Ratio(most) => format!("{most:.2}×"),
                Target::Value(most) => number(*most),
            };
            write!(f, "   {form} ≤ {limit} {}", if *met { "met" } else { "MISSED" })?;
        }
        Ok(())
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.3}"),
        ..100.0 => format!("{value:.2}"),
        ..1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_states_whether_each_target_is_met() {
        let values = Each { bare: 1.0, wrappers: 1.21, production: 2.2, stored: 3.3, hand_written: 1.1 };
        let row = Row::new("CPU per run, ms", values)
            .at_most(Contender::Wrappers, Target::Ratio(1.05))
            .at_most(Contender::Production, Target::Value(3.0));
        let expected = "CPU per run, ms                     1.100    1.000  0.91×    1.210  1.10×    2.200  2.00×    3.300  3.00×   \
            wrappers ≤ 1.05× MISSED   production ≤ 3.000 met";
        assert_eq!(row.to_string(), expected);
    }
}
