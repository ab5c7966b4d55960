//! Agents that keep asking each other, or one the other the same.
//!
//! An agent that is asked again below itself may have good reason to be. In the third round it has none; nor has a
//! round that ends only because delegation may go no deeper. All agents of the circle end then, as each would try
//! again otherwise, and their tries multiply with every level. Those above it are told and go on.

use std::hash::Hash;

use crate::{Event, Run};

/// Splitting a task twice in the same way is recursion, three times is a circle.
const ROUNDS: u32 = 3;

/// Counts the circles of a whole request.
const ANY: &str = "delegation circles";

/// Whether asking the agent called `name` closes a circle for the last time, and what to say about it.
pub(crate) fn closed_by(name: &str, run: &Run, too_deep: bool) -> Option<String> {
    if run.agent().split('/').all(|agent| agent != name) {
        return None;
    }
    let path: Vec<&str> = run.agent().split('/').collect();
    let rounds = 1 + narrow(path.iter().filter(|agent| **agent == name).count());
    let ends = rounds >= ROUNDS || (rounds > 1 && too_deep);
    let latest = path.iter().rposition(|agent| *agent == name).filter(|_| ends)?;
    let circle: Vec<&str> = path.iter().skip(latest).copied().collect();
    // The circle may have begun with any of its members.
    let start = path.iter().take_while(|agent| !circle.contains(agent)).count();
    close(path.iter().take(start + 1).copied().collect::<Vec<_>>().join("/"), rounds, run);
    Some(format!("agents ask each other in a circle: {} → {name}; answer without delegating", circle.join(" → ")))
}

/// Whether `run` gives a task to `worker` that it has given it too often, and what to say about it. What a worker did
/// three times it would do a fourth time, and each time is a run of its own.
pub(crate) fn repeated_by(worker: &str, task: &str, run: &Run) -> Option<String> {
    let times = run.count(("task", task, worker, run.id()));
    if times <= ROUNDS {
        return None;
    }
    close(run.id(), times, run);
    Some(format!("{worker} was given this same task {times} times; use what it has answered"))
}

/// Whether the agent of `run` is part of a circle that was closed, or closed one by itself, and so must end.
pub(crate) fn noticed(run: &Run) -> Option<String> {
    // Nearly always none, which this one look tells.
    if run.counted(ANY) == 0 {
        return None;
    }
    let path = run.agent();
    if run.counted((ANY, run.id())) > 0 {
        return Some(format!("{path} gives the same task to the same agent again and again."));
    }
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let start = ends.filter_map(|end| path.get(..end)).find(|start| run.counted((ANY, start)) > 0)?;
    let name = start.rsplit('/').next().unwrap_or(start);
    Some(format!("{name} and the agents below it ask each other in a circle."))
}

fn close(start: impl Hash, rounds: u32, run: &Run) {
    run.count(ANY);
    run.count((ANY, start));
    run.emit(&Event::LoopNoticed { kind: "delegation", count: rounds });
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
