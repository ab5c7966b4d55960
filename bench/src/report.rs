//! What was found, for people and for programs.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::brigade::WRAPPERS;
use crate::scenario::Scenario;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Brigade's wrappers around each model.
    pub(crate) wrappers: &'static str,
    pub(crate) scenarios: Vec<Comparison>,
}

/// Both contenders at one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) scenario: Scenario,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
}

/// One number of both.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) brigade: f64,
    pub(crate) floor: f64,
    pub(crate) ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

/// What Brigade's number should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// At most so many times the floor's.
    Ratio(f64),
    /// At most this.
    Value(f64),
}

impl Report {
    pub(crate) const fn new(scenarios: Vec<Comparison>) -> Self {
        Self { wrappers: WRAPPERS, scenarios }
    }
}

impl Row {
    /// `values` are Brigade's and the floor's.
    pub(crate) fn new(name: &'static str, (brigade, floor): (f64, f64)) -> Self {
        Self { name, brigade, floor, ratio: brigade / floor, target: None, met: None }
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
        writeln!(f, "floor: hand-written loop on reqwest and serde_json, which does none of this")?;
        self.scenarios.iter().try_for_each(|comparison| write!(f, "\n{comparison}"))
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { scenario, rounds, rows } = self;
        writeln!(f, "{} · {}", scenario.name(), scenario.about())?;
        writeln!(f, "  medians of {rounds} rounds in which they take turns")?;
        writeln!(f, "  {:<36}{:>12}{:>12}{:>9}   target", "", "brigade", "floor", "ratio")?;
        rows.iter().try_for_each(|row| writeln!(f, "  {row}"))
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (brigade, floor) = (number(self.brigade), number(self.floor));
        write!(f, "{:<36}{brigade:>12}{floor:>12}{:>8.2}×", self.name, self.ratio)?;
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

/// Three digits that matter, and no more.
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
    fn a_row_says_whether_its_target_was_met() {
        let row = Row::new("CPU per run, ms", (1.21, 1.1));
        let missed = "CPU per run, ms                            1.210       1.100    1.10×   ≤ 1.05×  MISSED";
        assert_eq!(row.at_most(Target::Ratio(1.05)).to_string(), missed);
        let row = Row::new("CPU per run, ms", (1.21, 1.1)).at_most(Target::Value(2.0));
        assert_eq!(row.met, Some(true));
    }
}
