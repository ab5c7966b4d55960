//! Detects delegation cycles and repeated delegations.
//!
//! An agent may ask an agent that is already at work above it: that is recursion. It becomes a cycle in the third
//! round, or in the second one if that reaches the depth limit. Then all agents of the cycle end, because otherwise each
//! of them would try again, and the tries would multiply with every level. The agents above the cycle go on.

use std::hash::Hash;

use crate::{Event, Run};

/// How often an agent may stand in one path, and how often a worker may get the same task.
const MAX_ROUNDS: u32 = 3;

/// The counter of all cycles and repetitions of one request.
const CYCLES: &str = "delegation cycles";

/// Returns why `run` must not delegate to the agent called `name`, if that would close a cycle.
pub(crate) fn refuse_cycle(name: &str, run: &Run, is_too_deep: bool) -> Option<String> {
    let path: Vec<&str> = run.agent().split('/').collect();
    let latest = path.iter().rposition(|agent| *agent == name)?;
    let before = path.iter().filter(|agent| **agent == name).count();
    let round = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
    if round < MAX_ROUNDS && !is_too_deep {
        return None;
    }
    let cycle: Vec<&str> = path.iter().skip(latest).copied().collect();
    // Any member of the cycle may have been the first one in the path.
    let above = path.iter().take_while(|agent| !cycle.contains(agent)).count();
    let first_member = path.iter().take(above + 1).copied().collect::<Vec<_>>().join("/");
    mark(first_member, round, run);
    Some(format!("agents ask each other in a circle: {} → {name}; answer without delegating", cycle.join(" → ")))
}

/// Returns why `run` must not give this task to `worker` again, if it has done so too often. Each delegation is a run of
/// its own, and one more would bring nothing new.
pub(crate) fn refuse_repetition(worker: &str, task: &str, run: &Run) -> Option<String> {
    let times = run.count(("task", task, worker, run.id()));
    if times <= MAX_ROUNDS {
        return None;
    }
    mark(run.id(), times, run);
    Some(format!("{worker} was given this same task {times} times; use what it has answered"))
}

/// Returns why the agent of `run` must end, if it is part of a cycle or has repeated a delegation.
pub(crate) fn must_end(run: &Run) -> Option<String> {
    if run.counted(CYCLES) == 0 {
        return None;
    }
    let path = run.agent();
    if run.counted((CYCLES, run.id())) > 0 {
        return Some(format!("{path} gives the same task to the same agent again and again."));
    }
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let first_member = ends.filter_map(|end| path.get(..end)).find(|path| run.counted((CYCLES, path)) > 0)?;
    let name = first_member.rsplit('/').next().unwrap_or(first_member);
    Some(format!("{name} and the agents below it ask each other in a circle."))
}

/// Marks a cycle by the path of its first member, or a repetition by the run that repeats.
fn mark(what: impl Hash, count: u32, run: &Run) {
    run.count(CYCLES);
    run.count((CYCLES, what));
    run.emit(&Event::LoopNoticed { kind: "delegation".into(), count });
}
