//! The health of models, for health checks and metrics.

use std::time::Duration;

use brigade_core::{BreakerState, ModelErrorKind, ModelId};

use crate::LimitHealth;

/// The state of one model at one account. Fields are `None` if no wrapper has set up the state behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelHealth {
    /// The account and the name of the model.
    pub model: ModelId,
    /// The state of the model's circuit breaker.
    pub breaker: Option<BreakerState>,
    /// The state of the circuit breaker for the account's credentials and quota.
    pub credential: Option<BreakerState>,
    /// The kind of the last failure, however long ago.
    pub last_error: Option<ModelErrorKind>,
    /// Each known limit and what remains of it.
    pub headroom: Vec<LimitHealth>,
    /// The number of calls that wait for the rate limit, for all models of the family.
    pub waiting: usize,
    /// The number of calls that the provider is working on, for all models of the family.
    pub in_flight: u64,
    /// How long calls to the account are still paused because the provider asked for it.
    pub paused_for: Option<Duration>,
    /// The number of retries that the retry budget allows now.
    pub retries_left: Option<u64>,
}

impl ModelHealth {
    /// Whether the circuit breakers let a call pass.
    pub fn is_available(&self) -> bool {
        self.breaker_state() != Some(BreakerState::Open)
    }

    /// The state of the breaker that hinders calls most: the model's own or that of the account. `None` without a breaker.
    pub fn breaker_state(&self) -> Option<BreakerState> {
        let severity = |state: &BreakerState| match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        [self.breaker, self.credential].into_iter().flatten().max_by_key(severity)
    }
}
