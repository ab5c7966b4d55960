//! Whether somebody who failed is asked again, and when.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use brigade_core::ModelErrorKind;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::shared::{jitter::Jitter, tally::Tally};

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Opens after this many failures in a row. 7: more than two calls with all their attempts.
    pub failures_in_row: u32,
    /// Opens when this many percent of the recent calls failed. 50: an answer that costs two attempts is dearer than
    /// the next model.
    pub failed_percent: u32,
    /// Of fewer recent calls than this, no percentage is taken. 10.
    pub least_calls: u32,
    /// Which calls are recent. 30 s: long enough for ten calls of a small team of agents.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How long it stays open the first time; it doubles with each failed probe. 1 s.
    #[serde(with = "humantime_serde")]
    pub shortest_open: Duration,
    /// The longest that it grows to. 60 s: recovery is noticed within a minute.
    #[serde(with = "humantime_serde")]
    pub longest_open: Duration,
    /// How long all models of an account rest when its credentials are refused or its money is gone. 15 min: only a
    /// person can repair that.
    #[serde(with = "humantime_serde")]
    pub credential_open: Duration,
}

/// Whether calls pass a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They are refused.
    Open,
    /// One is let through to see whether it works again.
    HalfOpen,
}

/// Decides whether somebody who failed is asked again, and when.
#[derive(Debug)]
pub(crate) struct Circuit {
    thresholds: BreakerSettings,
    jitter: Arc<Jitter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts changes of phase, so that a call that began before one has no say after it.
    generation: u64,
    recent: Tally,
    failures_in_row: u32,
    /// How often it has opened since it last closed.
    openings: u32,
    last_error: Option<ModelErrorKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    /// `None` for as long as a person says.
    Open(Option<Instant>),
    HalfOpen {
        probing: bool,
    },
}

/// What a call says about who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They work.
    Works,
    /// They do not, and may have said for how long.
    Fails(Option<Duration>),
    /// They will not for this long.
    Rests(Duration),
    /// Nothing.
    Unknown,
}

/// Leave to make one call. Dropped without a verdict, it says nothing about who was asked.
#[must_use]
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    circuit: &'a Circuit,
    generation: u64,
    probes: bool,
}

/// The longest that a provider may keep a circuit open by its own word: one bad header must not switch it off for good.
const LONGEST_TOLD: Duration = Duration::from_mins(15);

impl Circuit {
    /// Closed, nothing known.
    pub(crate) fn new(thresholds: BreakerSettings, jitter: Arc<Jitter>) -> Self {
        let state = State {
            phase: Phase::Closed,
            generation: 0,
            recent: Tally::new(thresholds.window, Instant::now()),
            failures_in_row: 0,
            openings: 0,
            last_error: None,
        };
        Self { thresholds, jitter, state: Mutex::new(state) }
    }

    /// Leave for one call, and whether that half-opened the circuit; or how long until there is a chance, if that is
    /// known.
    pub(crate) fn enter(&self) -> Result<(Pass<'_>, Option<BreakerState>), Option<Duration>> {
        let mut state = self.lock();
        let mut changed = None;
        let probes = match state.phase {
            Phase::Closed => false,
            Phase::Open(None) => return Err(None),
            Phase::Open(Some(until)) => {
                let left = until.saturating_duration_since(Instant::now());
                if left > Duration::ZERO {
                    return Err(Some(left));
                }
                changed = Some(BreakerState::HalfOpen);
                state.enter(Phase::HalfOpen { probing: true });
                true
            }
            // How long the probe takes nobody knows; the shortest time that it could stay open is a fair guess.
            Phase::HalfOpen { probing: true } => return Err(Some(self.thresholds.shortest_open)),
            Phase::HalfOpen { probing: false } => {
                state.phase = Phase::HalfOpen { probing: true };
                true
            }
        };
        Ok((Pass { circuit: self, generation: state.generation, probes }, changed))
    }

    /// Whether calls pass.
    pub(crate) fn state(&self) -> BreakerState {
        match self.lock().phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open(_) => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// What went wrong last.
    pub(crate) fn last_error(&self) -> Option<ModelErrorKind> {
        self.lock().last_error
    }

    /// Refuses calls until somebody closes it.
    pub(crate) fn open(&self) {
        self.lock().enter(Phase::Open(None));
    }

    /// Lets calls pass and forgets what went wrong.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    fn record(&self, pass: &Pass<'_>, verdict: Verdict, error: Option<ModelErrorKind>) -> Option<BreakerState> {
        let now = Instant::now();
        let mut state = self.lock();
        if error.is_some() {
            state.last_error = error;
        }
        if pass.generation != state.generation {
            return None;
        }
        match verdict {
            Verdict::Unknown => {
                if pass.probes {
                    state.phase = Phase::HalfOpen { probing: false };
                }
                None
            }
            Verdict::Works if pass.probes => {
                state.close();
                Some(BreakerState::Closed)
            }
            Verdict::Works => {
                state.failures_in_row = 0;
                state.recent.add_first(now);
                None
            }
            Verdict::Fails(told) => {
                state.failures_in_row += 1;
                state.recent.add_second(now);
                let opens = pass.probes || self.is_too_much(&mut state, now);
                opens.then(|| self.open_for(self.rest(state.openings).max(told.unwrap_or_default()), &mut state))
            }
            Verdict::Rests(rest) => Some(self.open_for(rest, &mut state)),
        }
    }

    fn is_too_much(&self, state: &mut State, now: Instant) -> bool {
        let [worked, failed] = state.recent.sums(now);
        let calls = worked + failed;
        let many = calls >= u64::from(self.thresholds.least_calls)
            && failed * 100 >= calls * u64::from(self.thresholds.failed_percent);
        many || state.failures_in_row >= self.thresholds.failures_in_row
    }

    /// How long to stay open after that many openings before.
    fn rest(&self, openings: u32) -> Duration {
        let rest =
            self.thresholds.shortest_open.saturating_mul(1 << openings.min(31)).min(self.thresholds.longest_open);
        // Up to a fifth more: processes that opened together do not probe together, and recovery is still noticed soon.
        rest + self.jitter.up_to(rest / 5)
    }

    fn open_for(&self, rest: Duration, state: &mut State) -> BreakerState {
        let longest = self.thresholds.credential_open.max(LONGEST_TOLD);
        state.openings = state.openings.saturating_add(1);
        state.enter(Phase::Open(Some(Instant::now() + rest.min(longest))));
        BreakerState::Open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is of plain values, so a panic leaves a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }

    fn close(&mut self) {
        self.enter(Phase::Closed);
        self.recent.clear();
        self.failures_in_row = 0;
        self.openings = 0;
    }
}

impl Pass<'_> {
    /// Judges the call; `error` is what went wrong. Says if that changed the circuit's state.
    pub(crate) fn judge(mut self, verdict: Verdict, error: Option<ModelErrorKind>) -> Option<BreakerState> {
        let changed = self.circuit.record(&self, verdict, error);
        // What is dropped now holds no probe any more.
        self.probes = false;
        changed
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probes {
            self.circuit.record(self, Verdict::Unknown, None);
        }
    }
}

impl BreakerState {
    /// A stable name for events and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures_in_row: 7,
            failed_percent: 50,
            least_calls: 10,
            window: Duration::from_secs(30),
            shortest_open: Duration::from_secs(1),
            longest_open: Duration::from_mins(1),
            credential_open: Duration::from_mins(15),
        }
    }
}

#[cfg(test)]
mod tests;
