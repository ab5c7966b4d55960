//! Notices when an agent goes round in circles.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    Event, Part, Run, cycle,
    message::texts,
    toolbox::{CallEnd, Done},
};

/// How often an agent may do the same before it is told, and before it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardLimits {
    /// At this many calls of one tool with the same arguments the model is told. Polling twice is normal.
    pub notice_at: u32,
    /// At this many the run ends.
    pub stop_at: u32,
    /// At this many calls of tools that do not exist, whatever their names, the run ends.
    pub unknown_tools: u32,
    /// At this many calls in a row with arguments that cannot be used the run ends.
    pub invalid_arguments: u32,
}

/// Watches the tool calls of one agent in one run.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: GuardLimits,
    /// How often each call was made, by its exact arguments.
    exact: HashMap<u64, u32>,
    /// How often each call brought the same result, by those arguments that its schema names.
    fruitless: HashMap<u64, u32>,
    invalid_in_a_row: u32,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { notice_at: 3, stop_at: 5, unknown_tools: 3, invalid_arguments: 3 }
    }
}

impl Guard {
    pub(crate) fn new(limits: GuardLimits) -> Self {
        Self { limits, exact: HashMap::new(), fruitless: HashMap::new(), invalid_in_a_row: 0 }
    }

    /// Looks at the calls of one turn. Adds a notice to results that repeat; answers why the run must end, if it must.
    pub(crate) fn watch(&mut self, done: &mut [Done], run: &Run) -> Option<String> {
        let circling = done.iter_mut().find_map(|call| match call.end {
            CallEnd::UnknownTool => self.unknown_tool(call, run),
            CallEnd::InvalidArguments => self.invalid_arguments(call, run),
            // What was not run, or was cut short from outside, says nothing about the model.
            CallEnd::Stopped | CallEnd::Budget => None,
            CallEnd::Ok | CallEnd::Error | CallEnd::Fatal | CallEnd::Timeout | CallEnd::Panic => {
                self.invalid_in_a_row = 0;
                self.repetition(call, run)
            }
        });
        circling.or_else(|| cycle::noticed(run))
    }

    /// Counted over the whole request: an agent that invents a new name each time, or asks for another agent's tools
    /// in turn, is as lost as one that insists.
    fn unknown_tool(&self, call: &Done, run: &Run) -> Option<String> {
        let count = run.count("unknown tools");
        run.emit(&Event::LoopNoticed { kind: "unknown_tool", count });
        let name: String = call.result.name.chars().take(64).collect();
        (count >= self.limits.unknown_tools)
            .then(|| format!("{count} calls of tools that do not exist, the last one `{name}`"))
    }

    fn invalid_arguments(&mut self, call: &Done, run: &Run) -> Option<String> {
        self.invalid_in_a_row += 1;
        let count = self.invalid_in_a_row;
        if count > 1 {
            run.emit(&Event::LoopNoticed { kind: "invalid_arguments", count });
        }
        (count >= self.limits.invalid_arguments).then(|| {
            format!("{count} calls in a row with arguments that cannot be used, the last one of `{}`", call.result.name)
        })
    }

    fn repetition(&mut self, call: &mut Done, run: &Run) -> Option<String> {
        let exact = call.exact.map_or(0, |call| {
            let count = self.exact.entry(call).or_default();
            *count += 1;
            *count
        });
        let fruitless = self.fruitless.entry(with_result(call)).or_default();
        *fruitless += 1;
        let count = exact.max(*fruitless);
        if count < self.limits.notice_at {
            return None;
        }
        run.emit(&Event::LoopNoticed { kind: "tool_call", count });
        call.result.content.push(Part::text(format!(
            "[notice] You have made this same call of `{}` {count} times. Do not repeat it: use what you have, try \
             something else, or answer.",
            call.result.name
        )));
        (count >= self.limits.stop_at)
            .then(|| format!("`{}` was called {count} times to no new effect", call.result.name))
    }
}

/// Identifies a call together with what it brought.
fn with_result(call: &Done) -> u64 {
    let mut hasher = DefaultHasher::new();
    call.signature.hash(&mut hasher);
    texts(&call.result.content).hash(&mut hasher);
    hasher.finish()
}
