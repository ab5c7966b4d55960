//! The invariants that hold in every scenario, and the checks of one scenario.
//!
//! | | invariant | how it is checked |
//! |---|---|---|
//! | I1 | a run ends once, and succeeds only with a complete answer | events of each run; the answer, word for word |
//! | I2 | our ledger agrees with the provider's bill, except for amounts booked as uncertain or estimated | each charge against the provider's records |
//! | I3 | every conversation that is sent is valid for the vendor | the strict provider rejected none |
//! | I4 | a tool call is run at most once | tool starts by call id; the tools' own counts |
//! | I5 | the scenario ends in time | virtual time |
//! | I6 | the provider gets no more requests than expected | its records |
//! | I7 | every attempt starts and ends, with one trace id | events; the log; the provider's records |
//! | I8 | no secret, prompt or answer is logged, and nothing leaks | events and log; reservations, open calls, tasks |
//! | I9 | a control run at the same time is not affected | its answer, time and bill |
//! | I10 | the same seed gives the same events | a second run |

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use brigade_core::{Certainty, Event, Money};
use brigade_rehearsal::{CallRecord, CallState};

use crate::{
    scenario::environment::{API_KEY, CANARY},
    scenario::observation::{Observation, ObservedEnd, recorded_usage},
    scenario::scenario::{ANSWER, Caller, ExpectedBill, ExpectedEnd, Scenario},
};

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant, `I1` to `I10`, or `expected` for the scenario's own check.
    pub rule: &'static str,
    /// The observation that contradicts it.
    pub what: String,
}

/// How long the control run takes: two answers of one second.
const CONTROL_TIME: Duration = Duration::from_secs(2);

/// Checks the invariants and what the scenario expects. `second` is the observation of a second run with the same seed.
pub fn judge(scenario: &Scenario, observed: &Observation, second: &Observation) -> Vec<Violation> {
    let mut judge = Judge { violations: Vec::new() };
    judge.invariants(observed);
    judge.outcome(scenario, observed);
    judge.bounds(scenario, observed);
    judge.bill(scenario.expected.bill, observed);
    judge.check("I10", observed.digest() == second.digest(), || {
        let (one, other) = (observed.describe(), second.describe());
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        format!("the second run differs: {differs:?}")
    });
    if let Err(what) = (scenario.expected.check)(observed) {
        judge.violations.push(Violation { rule: "expected", what });
    }
    judge.violations
}

/// Checks only the invariants.
pub fn judge_invariants(observed: &Observation) -> Vec<Violation> {
    let mut judge = Judge { violations: Vec::new() };
    judge.invariants(observed);
    judge.violations
}

struct Judge {
    violations: Vec<Violation>,
}

impl Judge {
    fn check(&mut self, rule: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation { rule, what: what() });
        }
    }

    fn invariants(&mut self, observed: &Observation) {
        self.runs_end_once(observed);
        self.ledger(observed);
        let refused = observed.calls.iter().find(|call| call.status == 400 && call.fault.is_none());
        self.check("I3", refused.is_none(), || format!("the provider rejected a conversation: {refused:?}"));
        self.tools_once(observed);
        self.attempts(observed);
        self.secrets(observed);
        self.leaks(observed);
        self.control(observed);
    }

    fn runs_end_once(&mut self, observed: &Observation) {
        let dropped = observed.ends.contains(&ObservedEnd::Dropped);
        for (run, events) in observed.by_run() {
            let begun = events.iter().filter(|event| matches!(event, Event::RunStarted)).count();
            let ends = |event: &&&Event| matches!(event, Event::RunEnded { .. } | Event::RunFailed { .. });
            let ended = events.iter().filter(ends).count();
            // A dropped run emits no further events.
            let once = begun == ended || (dropped && ended <= begun);
            self.check("I1", once, || format!("the run {run:?} started {begun} times and ended {ended} times"));
            let last =
                events.iter().rposition(|event| matches!(event, Event::RunEnded { .. } | Event::RunFailed { .. }));
            let silent = last.is_none_or(|last| last + 1 == events.len() || begun > 1);
            self.check("I1", silent, || format!("the run {run:?} emits events after its end"));
        }
    }

    /// Every exact charge matches a call in the provider's records with the same tokens. Every call that the provider bills
    /// has a charge in our ledger, exact or not.
    fn ledger(&mut self, observed: &Observation) {
        let mut billed: Vec<&CallRecord> = observed.calls.iter().filter(|call| call.usage.input > 0).collect();
        let mut inexact = 0;
        for (_, charge) in observed.attempts() {
            let Some(charge) = charge else { continue };
            if charge.certainty != Certainty::Charged {
                inexact += 1;
                continue;
            }
            let tokens = |call: &&CallRecord| {
                let usage = recorded_usage(call);
                (usage.input_tokens, usage.output_tokens) == (charge.usage.input_tokens, charge.usage.output_tokens)
            };
            match billed.iter().position(tokens) {
                Some(at) => drop(billed.swap_remove(at)),
                None => {
                    self.check("I2", false, || {
                        format!("the ledger charged {:?}, which the provider does not bill", charge.usage)
                    });
                }
            }
        }
        self.check("I2", billed.len() <= inexact, || {
            format!(
                "the provider bills {} calls that are not in our ledger ({inexact} are inexact there)",
                billed.len()
            )
        });
        self.check("I2", inexact > 0 || observed.spending.total() == observed.billed, || {
            format!("the ledger has {} and the provider bills {}", observed.spending.total(), observed.billed)
        });
    }

    fn tools_once(&mut self, observed: &Observation) {
        let mut started = BTreeSet::new();
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &observed.events {
            if let Event::ToolStarted { call_id, tool } = &entry.event {
                *calls.entry(tool).or_default() += 1;
                let is_new = started.insert((entry.run, call_id.clone()));
                self.check("I4", is_new, || format!("{tool} was run twice for the call {call_id}"));
            }
        }
        for tool in observed.tool_runs.iter().collect::<BTreeSet<_>>() {
            let runs = observed.tool_runs.iter().filter(|run| *run == tool).count();
            let calls = calls.get(tool).copied().unwrap_or_default();
            self.check("I4", runs <= calls, || format!("{tool} was called {calls} times and run {runs} times"));
        }
    }

    fn attempts(&mut self, observed: &Observation) {
        for (run, events) in observed.by_run() {
            let mut open = 0_i64;
            for event in events {
                open += i64::from(matches!(event, Event::AttemptStarted { .. }));
                open -= i64::from(matches!(event, Event::AttemptEnded { .. }));
                self.check("I7", open >= 0, || format!("an attempt of {run:?} ended without a start"));
            }
            self.check("I7", open == 0, || format!("{open} attempts of {run:?} have no end"));
        }
        let strange = observed.events.iter().find(|entry| !observed.traces.contains(&entry.trace));
        self.check("I7", strange.is_none(), || format!("an event with an unknown trace id: {strange:?}"));
        let traces: Vec<String> = observed.traces.iter().map(ToString::to_string).collect();
        let stray = observed.calls.iter().find(|call| call.trace.as_ref().is_none_or(|trace| !traces.contains(trace)));
        self.check("I7", stray.is_none(), || format!("the provider received an unknown trace id: {stray:?}"));
        let marks: Vec<String> = observed.traces.iter().map(|trace| format!("[{}]", trace.short())).collect();
        let ours = |line: &&String| marks.iter().any(|mark| line.contains(mark)) || line.contains("[0000c0de]");
        let strange = observed.log_lines.iter().find(|line| !ours(line));
        self.check("I7", strange.is_none(), || format!("a log line without its trace id: {strange:?}"));
    }

    fn secrets(&mut self, observed: &Observation) {
        for word in [API_KEY, CANARY] {
            let line = observed.log_lines.iter().find(|line| line.contains(word));
            self.check("I8", line.is_none(), || format!("the log contains `{word}`: {line:?}"));
            let event = observed
                .events
                .iter()
                .find(|entry| !matches!(entry.event, Event::Delta(_)) && format!("{:?}", entry.event).contains(word));
            self.check("I8", event.is_none(), || format!("an event contains `{word}`: {event:?}"));
        }
        let end = observed
            .ends
            .iter()
            .find(|end| matches!(end, ObservedEnd::Failed { message, .. } if message.contains(API_KEY)));
        self.check("I8", end.is_none(), || format!("an error contains the key: {end:?}"));
    }

    fn leaks(&mut self, observed: &Observation) {
        let (count, money) = (observed.outstanding, observed.reserved);
        self.check("I8", count == 0 && money == Money::ZERO, || {
            format!("{count} reservations of {money} were not released")
        });
        let open = observed.calls.iter().find(|call| call.state == CallState::InProgress);
        self.check("I8", open.is_none(), || format!("the provider still answers a call: {open:?}"));
        self.check("I8", observed.tasks_left == 0, || format!("{} tasks still run", observed.tasks_left));
    }

    fn control(&mut self, observed: &Observation) {
        let control = &observed.control;
        let well = ObservedEnd::Outcome {
            stop: brigade_core::StopReason::Finished,
            text: ANSWER.to_owned(),
            degraded: vec![],
        };
        let unaffected = control.ended == well
            && control.elapsed >= CONTROL_TIME
            && control.elapsed < CONTROL_TIME + Duration::from_millis(10)
            && control.spent == control.billed;
        self.check("I9", unaffected, || format!("the control run: {control:?}"));
    }

    fn outcome(&mut self, scenario: &Scenario, observed: &Observation) {
        let times = if let Caller::Asks { times, .. } = scenario.caller { times } else { 1 };
        self.check("I1", observed.ends.len() == times as usize, || {
            format!("{} of {times} runs ended", observed.ends.len())
        });
        for end in &observed.ends {
            let holds = match (scenario.expected.end, end) {
                (ExpectedEnd::Answer(answer), ObservedEnd::Outcome { stop, text, .. }) => {
                    *stop == brigade_core::StopReason::Finished && text == answer
                }
                (ExpectedEnd::Stop(reason), ObservedEnd::Outcome { stop, .. }) => *stop == reason,
                (ExpectedEnd::Failure(expected), ObservedEnd::Failed { kind, .. }) => *kind == Some(expected),
                (ExpectedEnd::NotObserved, ObservedEnd::Dropped) | (ExpectedEnd::Any, _) => true,
                _ => false,
            };
            self.check("I1", holds, || format!("the run ended with {end:?}"));
        }
    }

    fn bounds(&mut self, scenario: &Scenario, observed: &Observation) {
        let time = &scenario.expected.time;
        self.check("I5", time.contains(&observed.elapsed), || {
            format!("the scenario took {:?}, not {time:?}", observed.elapsed)
        });
        let (requests, allowed) = (observed.calls.len(), &scenario.expected.requests);
        self.check("I6", allowed.contains(&requests), || {
            format!("the provider got {requests} requests, not {allowed:?}")
        });
    }

    fn bill(&mut self, bill: ExpectedBill, observed: &Observation) {
        let (uncertain, estimated) =
            (observed.attempts_booked_as(Certainty::Uncertain), observed.attempts_booked_as(Certainty::Estimated));
        let holds = match bill {
            ExpectedBill::Exact => uncertain + estimated == 0 && observed.spending.total() == observed.billed,
            ExpectedBill::Nothing => observed.spending.total() == Money::ZERO && observed.billed == Money::ZERO,
            ExpectedBill::Uncertain(expected) => (uncertain, estimated) == (expected, 0),
            ExpectedBill::Estimated(expected) => (uncertain, estimated) == (0, expected),
            ExpectedBill::Mixed => true,
        };
        self.check("I2", holds, || {
            let (ours, billed) = (observed.spending.total(), observed.billed);
            format!("{bill:?} was expected: {uncertain} uncertain, {estimated} estimated, {ours} of {billed}")
        });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}
