//! Agents that keep asking each other.
//!
//! An agent that is asked again below itself may have good reason to be. In the third round it has none; nor has a
//! round that ends only because delegation may go no deeper. All agents of the circle end then, as each would try
//! again otherwise, and their tries multiply with every level. Those above it are told and go on.

use crate::{Event, Run};

/// Splitting a task twice in the same way is recursion, three times is a circle.
const ROUNDS: usize = 3;

/// Whether asking the agent called `name` closes a circle for the last time, and what to say about it.
pub(crate) fn closed_by(name: &str, run: &Run, too_deep: bool) -> Option<String> {
    let path: Vec<&str> = run.agent().split('/').collect();
    let rounds = 1 + path.iter().filter(|agent| **agent == name).count();
    let ends = rounds >= ROUNDS || (rounds > 1 && too_deep);
    let latest = path.iter().rposition(|agent| *agent == name).filter(|_| ends)?;
    let circle: Vec<&str> = path.iter().skip(latest).copied().collect();
    // The circle may have begun with any of its members.
    let start = path.iter().take_while(|agent| !circle.contains(agent)).count();
    run.count(&key(&path.iter().take(start + 1).copied().collect::<Vec<_>>().join("/")));
    run.emit(&Event::LoopNoticed { kind: "delegation", count: u32::try_from(rounds).unwrap_or(u32::MAX) });
    Some(format!("agents ask each other in a circle: {} → {name}; answer without delegating", circle.join(" → ")))
}

/// Whether the agent of `run` is part of a circle that was closed, and so must end.
pub(crate) fn noticed(run: &Run) -> Option<String> {
    let path = run.agent();
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let start = ends.filter_map(|end| path.get(..end)).find(|start| run.counted(&key(start)) > 0)?;
    let name = start.rsplit('/').next().unwrap_or(start);
    Some(format!("{name} and the agents below it ask each other in a circle"))
}

fn key(start: &str) -> String {
    format!("delegation circles from {start}")
}
