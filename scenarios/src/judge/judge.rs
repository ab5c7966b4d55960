//! The invariants that hold whatever goes wrong, and the one judge of all scenarios.
//!
//! | | what must hold | how it is seen |
//! |---|---|---|
//! | I1 | a run ends once, and well only with a whole answer | events of each run; the answer, word for word |
//! | I2 | our books are the provider's, save what they call uncertain or estimated | charges against the provider's records, one to one |
//! | I3 | every history is one that the vendor accepts | the strict provider refused none |
//! | I4 | a tool call is run at most once | starts of tools by id; what the tools themselves have counted |
//! | I5 | it ends in time | virtual time |
//! | I6 | the provider gets no more requests than stated | its records |
//! | I7 | every attempt has a beginning and a typed end, under one trace id | events; the log; what the provider was told |
//! | I8 | no secret, prompt or answer is told, nothing leaks | events and log; reservations, open calls, tasks |
//! | I9 | a healthy run beside it notices nothing | its answer, time and bill |
//! | I10 | the same seed gives the same events | a second performance |

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use brigade_core::{Certainty, Event, Money};
use brigade_rehearsal::{CallRecord, CallState};

use crate::{
    play::usage,
    scenario::{ANSWER, Act, Bill, Ends, Scenario},
    seen::{Ended, Seen},
    stage::{API_KEY, CANARY},
};

/// Something that must hold and did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which invariant: `I1` to `I10`, or `expected` for what the scenario itself asks for.
    pub rule: &'static str,
    /// What was seen instead.
    pub what: String,
}

/// What the healthy run takes: two answers of a second.
const CONTROL_TIME: Duration = Duration::from_secs(2);

/// All that must hold and did not. `again` is a second performance with the same seed.
pub fn judge(scenario: &Scenario, seen: &Seen, again: &Seen) -> Vec<Breach> {
    let mut bench = Bench { breaches: Vec::new() };
    bench.invariants(seen);
    bench.outcome(scenario, seen);
    bench.bounds(scenario, seen);
    bench.bill(scenario.expected.bill, seen);
    bench.check("I10", seen.digest() == again.digest(), || {
        let (one, other) = (seen.story(), again.story());
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        format!("the second time went differently: {differs:?}")
    });
    if let Err(what) = (scenario.expected.check)(seen) {
        bench.breaches.push(Breach { rule: "expected", what });
    }
    bench.breaches
}

/// All that must hold whatever the scenario, and did not.
pub fn judge_invariants(seen: &Seen) -> Vec<Breach> {
    let mut bench = Bench { breaches: Vec::new() };
    bench.invariants(seen);
    bench.breaches
}

struct Bench {
    breaches: Vec<Breach>,
}

impl Bench {
    fn check(&mut self, rule: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.breaches.push(Breach { rule, what: what() });
        }
    }

    fn invariants(&mut self, seen: &Seen) {
        self.runs_end_once(seen);
        self.books(seen);
        let refused = seen.calls.iter().find(|call| call.status == 400 && call.fault.is_none());
        self.check("I3", refused.is_none(), || format!("the provider refused a history: {refused:?}"));
        self.tools_once(seen);
        self.attempts(seen);
        self.secrets(seen);
        self.leaks(seen);
        self.control(seen);
    }

    fn runs_end_once(&mut self, seen: &Seen) {
        let dropped = seen.ends.contains(&Ended::Dropped);
        for (run, events) in seen.by_run() {
            let begun = events.iter().filter(|event| matches!(event, Event::RunStarted)).count();
            let ends = |event: &&&Event| matches!(event, Event::RunEnded { .. } | Event::RunFailed { .. });
            let ended = events.iter().filter(ends).count();
            // Whoever is dropped tells nothing more.
            let once = begun == ended || (dropped && ended <= begun);
            self.check("I1", once, || format!("the run {run:?} began {begun} and ended {ended} times"));
            let last =
                events.iter().rposition(|event| matches!(event, Event::RunEnded { .. } | Event::RunFailed { .. }));
            let silent = last.is_none_or(|last| last + 1 == events.len() || begun > 1);
            self.check("I1", silent, || format!("the run {run:?} goes on after its end"));
        }
    }

    /// Every charge that is sure has a call of the provider's with the same tokens; every call that the provider bills
    /// has a charge of ours, if only an unsure one.
    fn books(&mut self, seen: &Seen) {
        let mut billed: Vec<&CallRecord> = seen.calls.iter().filter(|call| call.usage.input > 0).collect();
        let mut unsure = 0;
        for (_, charge) in seen.attempts() {
            let Some(charge) = charge else { continue };
            if charge.certainty != Certainty::Charged {
                unsure += 1;
                continue;
            }
            let tokens = |call: &&CallRecord| {
                let usage = usage(call);
                (usage.input_tokens, usage.output_tokens) == (charge.usage.input_tokens, charge.usage.output_tokens)
            };
            match billed.iter().position(tokens) {
                Some(at) => drop(billed.swap_remove(at)),
                None => {
                    self.check("I2", false, || format!("charged {:?}, which the provider does not bill", charge.usage));
                }
            }
        }
        self.check("I2", billed.len() <= unsure, || {
            format!("the provider bills {} calls that are not in our books ({unsure} are unsure there)", billed.len())
        });
        self.check("I2", unsure > 0 || seen.spending.total() == seen.truth, || {
            format!("we paid {} and the provider bills {}", seen.spending.total(), seen.truth)
        });
    }

    fn tools_once(&mut self, seen: &Seen) {
        let mut started = BTreeSet::new();
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &seen.entries {
            if let Event::ToolStarted { call_id, tool } = &entry.event {
                *calls.entry(tool).or_default() += 1;
                let is_new = started.insert((entry.run, call_id.clone()));
                self.check("I4", is_new, || format!("{tool} was run twice for the call {call_id}"));
            }
        }
        for tool in seen.tool_runs.iter().collect::<BTreeSet<_>>() {
            let runs = seen.tool_runs.iter().filter(|run| *run == tool).count();
            let calls = calls.get(tool).copied().unwrap_or_default();
            self.check("I4", runs <= calls, || format!("{tool} was called {calls} times and run {runs} times"));
        }
    }

    fn attempts(&mut self, seen: &Seen) {
        for (run, events) in seen.by_run() {
            let mut open = 0_i64;
            for event in events {
                match event {
                    Event::AttemptStarted { .. } => open += 1,
                    Event::AttemptEnded { .. } => open -= 1,
                    _ => {}
                }
                self.check("I7", open >= 0, || format!("an attempt of {run:?} ended without having begun"));
            }
            self.check("I7", open == 0, || format!("{open} attempts of {run:?} have no end"));
        }
        let strange = seen.entries.iter().find(|entry| !seen.traces.contains(&entry.trace));
        self.check("I7", strange.is_none(), || format!("an event of another trace: {strange:?}"));
        let traces: Vec<String> = seen.traces.iter().map(ToString::to_string).collect();
        let stray = seen.calls.iter().find(|call| call.trace.as_ref().is_none_or(|trace| !traces.contains(trace)));
        self.check("I7", stray.is_none(), || format!("the provider was told of another trace: {stray:?}"));
        let marks: Vec<String> = seen.traces.iter().map(|trace| format!("[{}]", trace.short())).collect();
        let ours = |line: &&String| marks.iter().any(|mark| line.contains(mark)) || line.contains("[0000c0de]");
        let strange = seen.lines.iter().find(|line| !ours(line));
        self.check("I7", strange.is_none(), || format!("a log line without its trace id: {strange:?}"));
    }

    fn secrets(&mut self, seen: &Seen) {
        for word in [API_KEY, CANARY] {
            let line = seen.lines.iter().find(|line| line.contains(word));
            self.check("I8", line.is_none(), || format!("the log tells `{word}`: {line:?}"));
            let told = seen
                .entries
                .iter()
                .find(|entry| !matches!(entry.event, Event::Delta(_)) && format!("{:?}", entry.event).contains(word));
            self.check("I8", told.is_none(), || format!("an event tells `{word}`: {told:?}"));
        }
        let told =
            seen.ends.iter().find(|end| matches!(end, Ended::Failed { message, .. } if message.contains(API_KEY)));
        self.check("I8", told.is_none(), || format!("an error tells the key: {told:?}"));
    }

    fn leaks(&mut self, seen: &Seen) {
        let (count, money) = (seen.outstanding, seen.reserved);
        self.check("I8", count == 0 && money == Money::ZERO, || format!("{count} reservations of {money} are left"));
        let open = seen.calls.iter().find(|call| call.state == CallState::InProgress);
        self.check("I8", open.is_none(), || format!("the provider still answers: {open:?}"));
        self.check("I8", seen.tasks_left == 0, || format!("{} tasks are left", seen.tasks_left));
    }

    fn control(&mut self, seen: &Seen) {
        let control = &seen.control;
        let well =
            Ended::Outcome { stop: brigade_core::StopReason::Finished, text: ANSWER.to_owned(), degraded: vec![] };
        let unaffected = control.ended == well
            && control.elapsed >= CONTROL_TIME
            && control.elapsed < CONTROL_TIME + Duration::from_millis(10)
            && control.spent == control.truth;
        self.check("I9", unaffected, || format!("the healthy run: {control:?}"));
    }

    fn outcome(&mut self, scenario: &Scenario, seen: &Seen) {
        let times = if let Act::Ask { times, .. } = scenario.act { times } else { 1 };
        self.check("I1", seen.ends.len() == times as usize, || format!("{} of {times} runs ended", seen.ends.len()));
        for end in &seen.ends {
            let holds = match (scenario.expected.ends, end) {
                (Ends::Says(answer), Ended::Outcome { stop, text, .. }) => {
                    *stop == brigade_core::StopReason::Finished && text == answer
                }
                (Ends::Stops(reason), Ended::Outcome { stop, .. }) => *stop == reason,
                (Ends::Fails(expected), Ended::Failed { kind, .. }) => *kind == Some(expected),
                (Ends::Unseen, Ended::Dropped) | (Ends::Differ, _) => true,
                _ => false,
            };
            self.check("I1", holds, || format!("it ended with {end:?}"));
        }
    }

    fn bounds(&mut self, scenario: &Scenario, seen: &Seen) {
        let time = &scenario.expected.time;
        self.check("I5", time.contains(&seen.elapsed), || format!("it took {:?}, not {time:?}", seen.elapsed));
        let (requests, allowed) = (seen.calls.len(), &scenario.expected.requests);
        self.check("I6", allowed.contains(&requests), || {
            format!("the provider got {requests} requests, not {allowed:?}")
        });
    }

    fn bill(&mut self, bill: Bill, seen: &Seen) {
        let (uncertain, estimated) = (seen.booked(Certainty::Uncertain), seen.booked(Certainty::Estimated));
        let holds = match bill {
            Bill::Exact => uncertain + estimated == 0 && seen.spending.total() == seen.truth,
            Bill::Nothing => seen.spending.total() == Money::ZERO && seen.truth == Money::ZERO,
            Bill::Uncertain(expected) => (uncertain, estimated) == (expected, 0),
            Bill::Estimated(expected) => (uncertain, estimated) == (0, expected),
            Bill::Mixed => true,
        };
        self.check("I2", holds, || {
            let (ours, truth) = (seen.spending.total(), seen.truth);
            format!("{bill:?} was expected: {uncertain} uncertain, {estimated} estimated, {ours} of {truth}")
        });
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}
