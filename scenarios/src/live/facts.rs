//! What a check found out, and how that compares with the simulator.

use std::fmt::Display;

use brigade_core::ModelError;

/// The findings of one check, in order. They hold no text of prompts or answers, so that a report can be shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts(Vec<(&'static str, String)>);

/// One fact that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) fact: &'static str,
    pub(super) found: String,
    pub(super) simulator: String,
}

/// Why a check found nothing out.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// The provider does not have what is checked.
    NotOffered(String),
    /// What it looks at is missing.
    NotRun(&'static str),
    /// A call failed.
    Failed(ModelError),
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As with the simulator.
    Ok,
    /// Not as with the simulator.
    Differs(Vec<Difference>),
    /// The provider does not have it, for this reason.
    NotOffered(String),
    /// It failed, for this reason.
    Failed(String),
    /// It was not run, for this reason.
    NotRun(String),
}

impl Facts {
    pub(super) fn add(&mut self, fact: &'static str, found: impl Display) {
        self.0.push((fact, found.to_string()));
    }

    /// The facts that differ from those of the simulator. A fact that only one of both has differs.
    pub(super) fn differences(&self, simulator: &Self) -> Vec<Difference> {
        let only_there = simulator.0.iter().filter(|(fact, _)| self.find(fact).is_none());
        let facts = self.0.iter().chain(only_there).map(|(fact, _)| *fact);
        let value = |facts: &Self, fact| facts.find(fact).unwrap_or("not seen").to_owned();
        let both = facts.map(|fact| (fact, value(self, fact), value(simulator, fact)));
        both.filter(|(_, found, simulator)| found != simulator)
            .map(|(fact, found, simulator)| Difference { fact, found, simulator })
            .collect()
    }

    fn find(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(fact, _)| *fact == wanted).map(|(_, found)| found.as_str())
    }
}

impl Difference {
    pub(super) fn sentence(&self) -> String {
        format!("{}: {} (the simulator: {})", self.fact, self.found, self.simulator)
    }
}

impl Verdict {
    /// A stable name for reports.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Differs(_) => "differs",
            Self::NotOffered(_) => "not offered",
            Self::Failed(_) => "failed",
            Self::NotRun(_) => "not run",
        }
    }

    /// What differs, or why there is nothing to compare. Empty if all is well.
    pub(super) fn details(&self) -> Vec<String> {
        match self {
            Self::Ok => Vec::new(),
            Self::Differs(differences) => differences.iter().map(Difference::sentence).collect(),
            Self::NotOffered(why) | Self::Failed(why) | Self::NotRun(why) => vec![why.clone()],
        }
    }
}

impl From<ModelError> for Obstacle {
    fn from(error: ModelError) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_only_one_side_has_differs() {
        let (mut here, mut there) = (Facts::default(), Facts::default());
        here.add("text", "present");
        here.add("usage", "absent");
        there.add("text", "present");
        there.add("tool calls", 1);
        let facts: Vec<_> = here.differences(&there).into_iter().map(|difference| difference.fact).collect();
        assert_eq!(facts, ["usage", "tool calls"]);
        assert!(there.differences(&there).is_empty());
    }
}
