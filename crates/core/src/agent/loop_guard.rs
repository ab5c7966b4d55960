//! Notices when an agent goes round in circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Degradation, Event, Part, Run, StopReason, TurnLimits,
    agent::delegation,
    agent::run_end::End,
    run::counts::{Tally, digest},
    run::tool_status::ToolStatus,
    tool::outcome::ToolCallOutcome,
};

/// Watches the tool calls of one agent in one run.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: TurnLimits,
    /// How often each call was made, by its exact arguments.
    exact: Tally,
    /// How often each call brought the same result, by those arguments that its schema names.
    fruitless: Tally,
    invalid_in_a_row: u32,
    /// In how many turns in a row each tool failed.
    failing: BTreeMap<String, u32>,
    /// The tools that failed too often.
    disabled: Vec<String>,
}

impl Guard {
    pub(crate) fn new(limits: TurnLimits) -> Self {
        Self {
            limits,
            exact: Tally::default(),
            fruitless: Tally::default(),
            invalid_in_a_row: 0,
            failing: BTreeMap::new(),
            disabled: Vec::new(),
        }
    }

    /// The tools that the run has to do without by now.
    pub(crate) fn disabled(&self) -> &[String] {
        &self.disabled
    }

    /// Looks at the calls of one turn. Adds a notice to results that repeat; answers how the run must end, if it must.
    pub(crate) fn watch(&mut self, done: &mut [ToolCallOutcome], run: &Run) -> Option<End> {
        let circling = done.iter_mut().filter(|call| !call.is_duplicate).find_map(|call| self.judge(call, run));
        self.failures(done, run);
        circling.or_else(|| delegation::noticed(run).map(|why| End::new(StopReason::DelegationCycle, why)))
    }

    fn judge(&mut self, call: &mut ToolCallOutcome, run: &Run) -> Option<End> {
        match call.status {
            ToolStatus::UnknownTool => self.unknown_tool(call, run),
            ToolStatus::InvalidArguments | ToolStatus::TruncatedArguments => self.unusable_arguments(call, run),
            // What was not run, or was cut short from outside, says nothing about the model.
            ToolStatus::Stopped | ToolStatus::Budget => None,
            // As good as one that does not exist.
            ToolStatus::Disabled => self.repetition(call, run).or_else(|| self.unknown_tool(call, run)),
            ToolStatus::Ok | ToolStatus::Error | ToolStatus::Fatal | ToolStatus::Timeout | ToolStatus::Panic => {
                self.invalid_in_a_row = 0;
                self.repetition(call, run)
            }
        }
    }

    /// Counted over the whole request: an agent that invents a new name each time, or asks for another agent's tools
    /// in turn, is as lost as one that insists.
    fn unknown_tool(&self, call: &ToolCallOutcome, run: &Run) -> Option<End> {
        let count = run.count("unknown tools");
        run.emit(&Event::LoopNoticed { kind: "unknown_tool", count });
        let name: String = call.result.name.chars().take(64).collect();
        let why = || format!("The agent called {count} times for tools that it does not have, the last one `{name}`.");
        (count >= self.limits.unknown_tools).then(|| End::new(StopReason::UnknownToolLimit, why()))
    }

    fn unusable_arguments(&mut self, call: &ToolCallOutcome, run: &Run) -> Option<End> {
        self.invalid_in_a_row += 1;
        let (count, tool) = (self.invalid_in_a_row, &call.result.name);
        if count > 1 {
            run.emit(&Event::LoopNoticed { kind: call.status.name(), count });
        }
        if count < self.limits.invalid_arguments {
            return None;
        }
        Some(if call.status == ToolStatus::TruncatedArguments {
            let why =
                format!("The arguments of `{tool}` broke off, also after {count} tries; raise `max_output_tokens`.");
            End::new(StopReason::ToolArgumentsTruncated, why)
        } else {
            let why = format!("The arguments of `{tool}` did not fit it, also after {count} tries.");
            End::new(StopReason::ToolArgumentsInvalid, why)
        })
    }

    /// Switches tools off that have failed in too many turns.
    fn failures(&mut self, done: &mut [ToolCallOutcome], run: &Run) {
        for call in done.iter().filter(|call| call.status == ToolStatus::Ok) {
            self.failing.remove(&call.result.name);
        }
        let failed: BTreeSet<String> =
            done.iter().filter(|call| failed(call)).map(|call| call.result.name.clone()).collect();
        for name in failed {
            let worked_too = done.iter().any(|call| call.status == ToolStatus::Ok && call.result.name == name);
            if worked_too || self.disabled.contains(&name) {
                continue;
            }
            let count = self.failing.entry(name.clone()).or_default();
            *count += 1;
            let count = *count;
            if count >= self.limits.tool_failures {
                self.disable(name, count, (done, run));
            }
        }
    }

    fn disable(&mut self, name: String, count: u32, (done, run): (&mut [ToolCallOutcome], &Run)) {
        run.emit(&Event::LoopNoticed { kind: "tool_failure", count });
        let reason = format!("it failed {count} times in a row and was switched off");
        run.degrade(Degradation { part: format!("tool:{name}"), reason });
        if let Some(call) = done.iter_mut().rfind(|call| call.result.name == name) {
            call.result.content.push(Part::text(format!(
                "[notice] `{name}` has failed {count} times in a row and is switched off for the rest of this task. Go \
                 on without it."
            )));
        }
        self.disabled.push(name);
    }

    fn repetition(&mut self, call: &mut ToolCallOutcome, run: &Run) -> Option<End> {
        let exact = call.exact.map_or(0, |call| self.exact.add(call));
        let count = exact.max(self.fruitless.add(with_result(call)));
        if count < self.limits.repeats_before_notice {
            return None;
        }
        run.emit(&Event::LoopNoticed { kind: "tool_call", count });
        let name = &call.result.name;
        call.result.content.push(Part::text(format!(
            "[notice] You have made this same call of `{name}` {count} times. Do not repeat it: use what you have, try \
             something else, or answer."
        )));
        let why = || format!("The agent repeats itself: `{name}` was called {count} times to no new effect.");
        (count >= self.limits.repeats).then(|| End::new(StopReason::LoopDetected, why()))
    }
}

fn failed(call: &ToolCallOutcome) -> bool {
    matches!(call.status, ToolStatus::Error | ToolStatus::Fatal | ToolStatus::Timeout | ToolStatus::Panic)
}

/// Identifies a call together with what it brought.
fn with_result(call: &ToolCallOutcome) -> u64 {
    call.result.content.iter().fold(call.signature, |before, part| match part {
        Part::Text(text) => digest((before, &text.text)),
        _ => before,
    })
}
