//! Detects agents that repeat themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    Degradation, Event, Part, Run, StopReason, ToolStatus, TurnLimits,
    agent::delegation,
    agent::run_end::RunEnd,
    run::counts::{Tally, digest},
    run::log::count,
    tool::outcome::ToolCallOutcome,
};

/// Watches the tool calls of one agent in one run.
#[derive(Debug)]
pub(crate) struct LoopGuard {
    limits: TurnLimits,
    /// How often each call brought the same result.
    results: Tally,
    /// The last result of each call.
    last_results: HashMap<u64, u64>,
    unknown_tools: u32,
    invalid_in_a_row: u32,
    /// In how many turns in a row each tool failed.
    failures_in_a_row: BTreeMap<String, u32>,
    /// The tools that were switched off.
    disabled: Vec<String>,
}

impl LoopGuard {
    pub(crate) fn new(limits: TurnLimits) -> Self {
        Self {
            limits,
            results: Tally::default(),
            last_results: HashMap::new(),
            unknown_tools: 0,
            invalid_in_a_row: 0,
            failures_in_a_row: BTreeMap::new(),
            disabled: Vec::new(),
        }
    }

    /// Returns the names of the tools that were switched off.
    pub(crate) fn disabled(&self) -> &[String] {
        &self.disabled
    }

    /// Inspects the calls of one turn. Adds a notice to results that repeat, and returns how the run must end, if it must.
    pub(crate) fn inspect(&mut self, done: &mut [ToolCallOutcome], run: &Run) -> Option<RunEnd> {
        let end = done.iter_mut().filter(|call| !call.is_duplicate).find_map(|call| self.inspect_call(call, run));
        self.count_failures(done, run);
        end.or_else(|| delegation::must_end(run).map(|reason| RunEnd::new(StopReason::DelegationCycle, reason)))
    }

    fn inspect_call(&mut self, call: &mut ToolCallOutcome, run: &Run) -> Option<RunEnd> {
        match call.status {
            ToolStatus::UnknownTool => self.unknown_tool(call, run),
            ToolStatus::InvalidArguments | ToolStatus::TruncatedArguments => self.unusable_arguments(call, run),
            // The model is not to blame for a call that was not run or was stopped.
            ToolStatus::Stopped | ToolStatus::Budget | ToolStatus::Waiting => None,
            // The model got a notice that this tool is off, so it counts as an unknown one.
            ToolStatus::Disabled => self.repetition(call, run).or_else(|| self.unknown_tool(call, run)),
            ToolStatus::Ok
            | ToolStatus::Fallback
            | ToolStatus::Error
            | ToolStatus::Fatal
            | ToolStatus::Timeout
            | ToolStatus::Panic => {
                self.invalid_in_a_row = 0;
                self.repetition(call, run)
            }
        }
    }

    fn unknown_tool(&mut self, call: &ToolCallOutcome, run: &Run) -> Option<RunEnd> {
        self.unknown_tools += 1;
        let count = self.unknown_tools;
        if count > 1 {
            run.emit(&Event::LoopNoticed { kind: "unknown_tool".into(), count });
        }
        if count < self.limits.unknown_tools {
            return None;
        }
        let name: String = call.result.name.chars().take(64).collect();
        let which = "tools that it does not have or that were switched off";
        let notice = format!("The agent called {} for {which}, the last one `{name}`.", times(count));
        Some(RunEnd::new(StopReason::UnknownToolLimit, notice))
    }

    fn unusable_arguments(&mut self, call: &ToolCallOutcome, run: &Run) -> Option<RunEnd> {
        self.invalid_in_a_row += 1;
        let (count, tool) = (self.invalid_in_a_row, &call.result.name);
        if count > 1 {
            run.emit(&Event::LoopNoticed { kind: call.status.name().into(), count });
        }
        if count < self.limits.invalid_arguments {
            return None;
        }
        Some(if call.status == ToolStatus::TruncatedArguments {
            let notice =
                format!("The arguments of `{tool}` broke off {} in a row; raise `max_output_tokens`.", times(count));
            RunEnd::new(StopReason::ToolArgumentsTruncated, notice)
        } else {
            let notice = format!("The arguments of `{tool}` did not match its schema {} in a row.", times(count));
            RunEnd::new(StopReason::ToolArgumentsInvalid, notice)
        })
    }

    fn repetition(&mut self, call: &mut ToolCallOutcome, run: &Run) -> Option<RunEnd> {
        // A tool that is switched off brings nothing new.
        let old = self.last_results.get(&call.signature).filter(|_| call.status == ToolStatus::Disabled);
        let result = old.copied().unwrap_or_else(|| digest_with_result(call));
        self.last_results.insert(call.signature, result);
        let count = self.results.add(result);
        if count < self.limits.repeats_before_notice {
            return None;
        }
        run.emit(&Event::LoopNoticed { kind: "tool_call".into(), count });
        let name = &call.result.name;
        call.result.content.push(Part::text(format!(
            "[notice] You have made this same call of `{name}` {}, with the same result. Do not repeat it: use what you \
             have, try something else, or answer.", times(count)
        )));
        let notice = || format!("The agent repeats itself: `{name}` was called {} to no new effect.", times(count));
        (count >= self.limits.repeats).then(|| RunEnd::new(StopReason::LoopDetected, notice()))
    }

    /// Switches a tool off when all its calls have failed in too many turns in a row.
    fn count_failures(&mut self, done: &mut [ToolCallOutcome], run: &Run) {
        let worked: BTreeSet<_> = names(done, |status| matches!(status, ToolStatus::Ok | ToolStatus::Fallback));
        let failed: BTreeSet<_> = names(done, |status| {
            matches!(status, ToolStatus::Error | ToolStatus::Fatal | ToolStatus::Timeout | ToolStatus::Panic)
        });
        self.failures_in_a_row.retain(|name, _| !worked.contains(name));
        for name in failed {
            if worked.contains(&name) || self.disabled.contains(&name) {
                continue;
            }
            let count = self.failures_in_a_row.entry(name.clone()).or_default();
            *count += 1;
            let count = *count;
            if count >= self.limits.tool_failures {
                run.emit(&Event::LoopNoticed { kind: "tool_failure".into(), count });
                let reason = format!("it failed {} in a row and was switched off", times(count));
                run.degrade(Degradation::new(format!("tool:{name}"), reason));
                notify_disabled(done, &name, count);
                self.disabled.push(name);
            }
        }
    }
}

fn times(number: u32) -> String {
    count(u64::from(number), "time").to_string()
}

fn names(done: &[ToolCallOutcome], matches: impl Fn(ToolStatus) -> bool) -> BTreeSet<String> {
    done.iter().filter(|call| matches(call.status)).map(|call| call.result.name.clone()).collect()
}

fn notify_disabled(done: &mut [ToolCallOutcome], name: &str, count: u32) {
    if let Some(call) = done.iter_mut().rfind(|call| call.result.name == name) {
        call.result.content.push(Part::text(format!(
            "[notice] `{name}` has failed {} in a row and is switched off for the rest of this task. Go on without it.",
            times(count)
        )));
    }
}

/// Identifies a call together with its result. The same call with a new result is progress.
fn digest_with_result(call: &ToolCallOutcome) -> u64 {
    // Serializing cannot fail: parts are a tree of JSON values.
    digest((call.signature, serde_json::to_string(&call.result.content).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
