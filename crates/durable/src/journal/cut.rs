//! Selects the records of a journal that come after a step.

use brigade_core::StepRecord;

/// The paths of the records to remove so that a run goes on from before the step at `from`: this step and what is inside it,
/// the later steps of its agent, and the delegations around it with the later steps of their agents.
pub(crate) fn records_after(records: &[StepRecord], from: &str) -> Vec<String> {
    let from: Vec<&str> = from.split('/').collect();
    let paths = records.iter().map(|record| record.path.as_str());
    paths.filter(|path| is_after(&path.split('/').collect::<Vec<_>>(), &from)).map(str::to_owned).collect()
}

fn is_after(path: &[&str], from: &[&str]) -> bool {
    for (part, limit) in path.iter().zip(from) {
        if part == limit {
            continue;
        }
        return match (number(part), number(limit)) {
            (Some(turn), Some(from_turn)) => turn > from_turn,
            // The end of the run comes after each turn. Calls of one turn run in parallel.
            (None, Some(_)) => *part == "end",
            _ => false,
        };
    }
    // The same step, a step inside it, or a step around it. A turn is not around its calls.
    let is_around = path.len() < from.len() && path.last().is_some_and(|part| part.starts_with("tool:"));
    path.len() >= from.len() || is_around
}

fn number(part: &str) -> Option<u32> {
    part.parse().ok()
}

#[cfg(test)]
mod tests {
    use brigade_core::{Effect, StepState};
    use serde_json::json;

    use super::*;

    fn record(path: &str) -> StepRecord {
        let cost = serde_json::to_value(brigade_core::Spending::default()).unwrap();
        serde_json::from_value(json!({
            "path": path, "name": "x", "effect": Effect::Repeatable, "digest": 0, "state": StepState::Done,
            "output": null, "cost": cost, "changes": {},
        }))
        .unwrap()
    }

    #[test]
    fn a_cut_removes_the_step_what_follows_it_and_the_delegations_around_it() {
        let paths = [
            "0/session",
            "1",
            "1/tool:1",
            "2",
            "2/tool:1",
            "2/tool:1/critic/1",
            "2/tool:1/critic/2",
            "2/tool:1/critic/2/tool:1",
            "2/tool:2",
            "3",
            "10",
            "end/session",
        ];
        let records = paths.map(record);
        let removed = |from| records_after(&records, from);
        assert_eq!(removed("3"), ["3", "10", "end/session"]);
        assert_eq!(removed("2/tool:2"), ["2/tool:2", "3", "10", "end/session"]);
        assert_eq!(
            removed("2/tool:1/critic/2"),
            ["2/tool:1", "2/tool:1/critic/2", "2/tool:1/critic/2/tool:1", "3", "10", "end/session"]
        );
        assert_eq!(removed("2").len(), 9);
    }
}
