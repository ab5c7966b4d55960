//! The results, as text and as JSON.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::compare::pair::Pair;
use crate::compare::with_brigade::WRAPPERS;
use crate::workload::Workload;

/// The results of all workloads.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Brigade's wrappers around each model.
    pub(crate) wrappers: &'static str,
    pub(crate) workloads: Vec<Comparison>,
}

/// Both contenders with one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: Workload,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
}

/// One measurement of both contenders.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) brigade: f64,
    pub(crate) hand_written: f64,
    pub(crate) ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
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

impl Report {
    pub(crate) const fn new(workloads: Vec<Comparison>) -> Self {
        Self { wrappers: WRAPPERS, workloads }
    }
}

impl Row {
    pub(crate) fn new(name: &'static str, Pair { brigade, hand_written }: Pair<f64>) -> Self {
        Self { name, brigade, hand_written, ratio: brigade / hand_written, target: None, met: None }
    }

    pub(crate) fn at_most(self, target: Target) -> Self {
        let met = match target {
            Target::Ratio(most) => self.ratio <= most,
            Target::Value(most) => self.brigade <= most,
        };
        Self { target: Some(target), met: Some(met), ..self }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Brigade with {}", self.wrappers)?;
        writeln!(f, "by hand: a loop on reqwest and serde_json without any of this")?;
        self.workloads.iter().try_for_each(|comparison| write!(f, "\n{comparison}"))
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { workload, rounds, rows } = self;
        writeln!(f, "{} · {}", workload.name(), workload.about())?;
        writeln!(f, "  medians of {rounds} interleaved rounds")?;
        writeln!(f, "  {:<36}{:>12}{:>12}{:>9}   target", "", "brigade", "by hand", "ratio")?;
        rows.iter().try_for_each(|row| writeln!(f, "  {row}"))
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (brigade, by_hand) = (number(self.brigade), number(self.hand_written));
        write!(f, "{:<36}{brigade:>12}{by_hand:>12}{:>8.2}×", self.name, self.ratio)?;
        match self.target {
            Some(Target::Ratio(most)) => write!(f, "   ≤ {most:.2}×")?,
            Some(Target::Value(most)) => write!(f, "   ≤ {}", number(most))?,
            None => {}
        }
        match self.met {
            Some(true) => write!(f, "  met"),
            Some(false) => write!(f, "  MISSED"),
            None => Ok(()),
        }
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
    fn a_row_states_whether_its_target_is_met() {
        let row = Row::new("CPU per run, ms", Pair { brigade: 1.21, hand_written: 1.1 });
        let missed = "CPU per run, ms                            1.210       1.100    1.10×   ≤ 1.05×  MISSED";
        assert_eq!(row.at_most(Target::Ratio(1.05)).to_string(), missed);
        let row = Row::new("CPU per run, ms", Pair { brigade: 1.21, hand_written: 1.1 }).at_most(Target::Value(2.0));
        assert_eq!(row.met, Some(true));
    }
}
