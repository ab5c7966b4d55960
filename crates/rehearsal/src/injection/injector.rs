//! Chooses the fault for a call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::exchange::request::Request;
use crate::fault::plan::{CallMatcher, Fault, FaultPlan};

/// A plan in use, with its counters.
#[derive(Debug)]
pub(crate) struct Armed {
    faults: Vec<(Fault, AtomicU64)>,
}

impl Armed {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let counted = |fault| (fault, AtomicU64::new(0));
        Self { faults: plan.faults.into_iter().map(counted).collect() }
    }

    /// The fault that strikes this call. Every fault whose selector fits counts the call, whether
    /// it strikes or not.
    pub(crate) fn strike(&self, request: &Request, elapsed: Duration) -> Option<&Fault> {
        let mut found = None;
        for (fault, counter) in &self.faults {
            if !fits(&fault.selector, request) {
                continue;
            }
            let call = counter.fetch_add(1, Ordering::Relaxed) + 1;
            if found.is_none() && strikes(&fault.selector, call, elapsed) {
                found = Some(fault);
            }
        }
        found
    }
}

fn fits(selector: &CallMatcher, request: &Request) -> bool {
    selector.agent.as_ref().is_none_or(|name| request.agent.as_ref() == Some(name))
        && selector.model.as_ref().is_none_or(|model| request.model == *model)
        && selector.dialect.is_none_or(|dialect| request.dialect == dialect)
        && selector.stream.is_none_or(|stream| request.stream == stream)
        && selector.last_user_contains.as_ref().is_none_or(|text| request.last_user.contains(text.as_str()))
}

fn strikes(selector: &CallMatcher, call: u64, elapsed: Duration) -> bool {
    selector.call.is_none_or(|wanted| call == wanted)
        && selector.from_call.is_none_or(|first| call >= first)
        && selector.to_call.is_none_or(|last| call <= last)
        && selector.before.is_none_or(|end| elapsed < end)
        && selector.after.is_none_or(|start| elapsed >= start)
}
