//! Selects the fault for a call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::exchange::request::Request;
use crate::fault::plan::{CallMatcher, Fault, FaultPlan};

/// Selects the faults of a plan, and counts the calls that each of them matches.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    faults: Vec<CountedFault>,
}

#[derive(Debug)]
struct CountedFault {
    fault: Fault,
    calls: AtomicU64,
}

impl FaultInjector {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let counted = |fault| CountedFault { fault, calls: AtomicU64::new(0) };
        Self { faults: plan.faults.into_iter().map(counted).collect() }
    }

    /// The fault for this call. Each fault that matches the request counts the call, whether it is selected or not.
    pub(crate) fn select(&self, request: &Request, elapsed: Duration) -> Option<&Fault> {
        let mut selected = None;
        for CountedFault { fault, calls } in &self.faults {
            if !matches_request(&fault.calls, request) {
                continue;
            }
            let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
            if selected.is_none() && matches_call(&fault.calls, call, elapsed) {
                selected = Some(fault);
            }
        }
        selected
    }
}

fn matches_request(matcher: &CallMatcher, request: &Request) -> bool {
    matcher.agent.as_ref().is_none_or(|name| request.agent.as_ref() == Some(name))
        && matcher.model.as_ref().is_none_or(|model| request.model == *model)
        && matcher.dialect.is_none_or(|dialect| request.dialect == dialect)
        && matcher.stream.is_none_or(|stream| request.stream == stream)
        && matcher.last_user_contains.as_ref().is_none_or(|text| request.last_user.contains(text.as_str()))
        && matcher.body_contains.as_ref().is_none_or(|text| request.body_contains(text))
}

fn matches_call(matcher: &CallMatcher, call: u64, elapsed: Duration) -> bool {
    matcher.call.is_none_or(|number| call == number)
        && matcher.from_call.is_none_or(|first| call >= first)
        && matcher.to_call.is_none_or(|last| call <= last)
        && matcher.before.is_none_or(|end| elapsed < end)
        && matcher.after.is_none_or(|start| elapsed >= start)
}
