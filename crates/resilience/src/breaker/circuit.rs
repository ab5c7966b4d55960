//! The state machine of a circuit breaker.

use std::{sync::Arc, time::Duration};

use brigade_core::{BreakerState, ModelErrorKind};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    BreakerSettings,
    shared::{instants::after, jitter::Jitter, rolling_counter::RollingCounter},
};

/// A circuit: it opens after too many failures, and closes after a probe that succeeded.
#[derive(Debug)]
pub(crate) struct Circuit {
    settings: BreakerSettings,
    jitter: Arc<Jitter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Incremented with each change of phase, so that calls that began before it are ignored after it.
    generation: u64,
    successes: RollingCounter,
    failures: RollingCounter,
    failures_in_row: u32,
    /// How often the circuit has opened since it was last closed.
    openings: u32,
    last_error: Option<ModelErrorKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    /// Open until this time; without one, until [`Circuit::close`] is called.
    Open {
        until: Option<Instant>,
    },
    HalfOpen {
        is_probing: bool,
    },
}

/// What the outcome of a call means for a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallResult {
    Success,
    /// A failure; the provider may have said when to come back.
    Failure {
        retry_after: Option<Duration>,
    },
    /// The circuit must open for this long.
    Block {
        duration: Duration,
    },
    /// Says nothing about the circuit's subject.
    Ignored,
}

/// Permission to make one call. Dropping it without [`CallPermit::record`] counts as [`CallResult::Ignored`].
#[must_use]
#[derive(Debug)]
pub(crate) struct CallPermit<'a> {
    circuit: &'a Circuit,
    generation: u64,
    is_probe: bool,
    /// The state that the circuit entered by giving this permission, if it changed.
    pub(crate) state_change: Option<BreakerState>,
}

/// The circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CircuitOpen {
    /// When a call may pass again; `None` if the circuit was opened manually.
    pub(crate) retry_after: Option<Duration>,
}

/// The longest time for which a provider can keep a circuit open. A single wrong header must not disable it for good.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(15);

impl Circuit {
    /// A closed circuit.
    pub(crate) fn new(settings: BreakerSettings, jitter: Arc<Jitter>) -> Self {
        let now = Instant::now();
        let state = State {
            phase: Phase::Closed,
            generation: 0,
            successes: RollingCounter::new(settings.window, now),
            failures: RollingCounter::new(settings.window, now),
            failures_in_row: 0,
            openings: 0,
            last_error: None,
        };
        Self { settings, jitter, state: Mutex::new(state) }
    }

    /// Asks for permission to make one call.
    pub(crate) fn request(&self) -> Result<CallPermit<'_>, CircuitOpen> {
        let mut state = self.state.lock();
        let mut state_change = None;
        let is_probe = match state.phase {
            Phase::Closed => false,
            Phase::Open { until: None } => return Err(CircuitOpen { retry_after: None }),
            Phase::Open { until: Some(until) } => {
                let left = until.saturating_duration_since(Instant::now());
                if left > Duration::ZERO {
                    return Err(CircuitOpen { retry_after: Some(left) });
                }
                state_change = Some(BreakerState::HalfOpen);
                state.set_phase(Phase::HalfOpen { is_probing: true });
                true
            }
            // The duration of the probe is unknown; the shortest open time is a fair guess.
            Phase::HalfOpen { is_probing: true } => {
                return Err(CircuitOpen { retry_after: Some(self.settings.shortest_open) });
            }
            Phase::HalfOpen { is_probing: false } => {
                state.phase = Phase::HalfOpen { is_probing: true };
                true
            }
        };
        Ok(CallPermit { circuit: self, generation: state.generation, is_probe, state_change })
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.state.lock().phase {
            Phase::Closed => BreakerState::Closed,
            // The next call is a probe, although none has come yet.
            Phase::Open { until: Some(until) } if until <= Instant::now() => BreakerState::HalfOpen,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn last_error(&self) -> Option<ModelErrorKind> {
        self.state.lock().last_error
    }

    /// Opens the circuit until [`Circuit::close`] is called.
    pub(crate) fn open(&self) {
        self.state.lock().set_phase(Phase::Open { until: None });
    }

    /// Closes the circuit and forgets past failures.
    pub(crate) fn close(&self) {
        self.state.lock().close();
    }

    fn record(
        &self,
        permit: &CallPermit<'_>,
        result: CallResult,
        error: Option<ModelErrorKind>,
    ) -> Option<BreakerState> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if error.is_some() {
            state.last_error = error;
        }
        if permit.generation != state.generation {
            return None;
        }
        match result {
            CallResult::Ignored => {
                if permit.is_probe {
                    state.phase = Phase::HalfOpen { is_probing: false };
                }
                None
            }
            CallResult::Success if permit.is_probe => {
                state.close();
                Some(BreakerState::Closed)
            }
            CallResult::Success => {
                state.failures_in_row = 0;
                state.successes.add(now);
                None
            }
            CallResult::Failure { retry_after } => {
                state.failures_in_row += 1;
                state.failures.add(now);
                if !permit.is_probe && !self.must_open(&mut state, now) {
                    return None;
                }
                let duration = self.open_duration(state.openings).max(retry_after.unwrap_or_default());
                Some(self.open_for(duration, &mut state))
            }
            CallResult::Block { duration } => Some(self.open_for(duration, &mut state)),
        }
    }

    fn must_open(&self, state: &mut State, now: Instant) -> bool {
        let failed = state.failures.total(now);
        let calls = state.successes.total(now) + failed;
        let share_exceeded = calls >= u64::from(self.settings.least_calls)
            && failed * 100 >= calls * u64::from(self.settings.failed_percent);
        share_exceeded || state.failures_in_row >= self.settings.failures_in_row
    }

    /// How long the circuit stays open after this many earlier openings.
    fn open_duration(&self, openings: u32) -> Duration {
        let BreakerSettings { shortest_open, longest_open, .. } = self.settings;
        let duration = shortest_open.saturating_mul(1 << openings.min(31)).min(longest_open);
        // Up to a fifth longer, so that processes whose circuits opened together do not probe together.
        duration.saturating_add(self.jitter.up_to(duration / 5))
    }

    fn open_for(&self, duration: Duration, state: &mut State) -> BreakerState {
        let longest = self.settings.credential_open.max(MAX_RETRY_AFTER);
        state.openings = state.openings.saturating_add(1);
        state.set_phase(Phase::Open { until: Some(after(Instant::now(), duration.min(longest))) });
        BreakerState::Open
    }
}

impl State {
    fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }

    fn close(&mut self) {
        self.set_phase(Phase::Closed);
        self.successes.clear();
        self.failures.clear();
        self.failures_in_row = 0;
        self.openings = 0;
    }
}

impl CallPermit<'_> {
    /// Records how the call ended. Returns the new state if the circuit changed.
    pub(crate) fn record(mut self, result: CallResult, error: Option<ModelErrorKind>) -> Option<BreakerState> {
        let state_change = self.circuit.record(&self, result, error);
        // Already recorded: dropping must not end the probe again.
        self.is_probe = false;
        state_change
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.circuit.record(self, CallResult::Ignored, None);
        }
    }
}

#[cfg(test)]
mod tests;
