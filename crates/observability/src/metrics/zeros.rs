//! Counters that start at zero.
//!
//! `rate()` and `increase()` of Prometheus do not see the first failure of a series that appears with the value 1, so the
//! counters that alerts read exist from the start.

use brigade_core::{ModelErrorKind, Quantity, TimeoutPhase};

use super::{
    instruments::Instruments,
    labels::{INTERNAL_ERROR, KnownNames, ModelLabels, error_type},
};

/// The failures of providers.
const FAILURES: [ModelErrorKind; 12] = [
    ModelErrorKind::NoSuchModel,
    ModelErrorKind::Auth,
    ModelErrorKind::Quota,
    ModelErrorKind::RateLimited,
    ModelErrorKind::Overloaded,
    ModelErrorKind::Unreachable,
    ModelErrorKind::Transient,
    ModelErrorKind::Broken,
    ModelErrorKind::Timeout(TimeoutPhase::Connect),
    ModelErrorKind::Timeout(TimeoutPhase::FirstDelta),
    ModelErrorKind::Timeout(TimeoutPhase::Idle),
    ModelErrorKind::Timeout(TimeoutPhase::Attempt),
];

const QUANTITIES: [Quantity; 5] =
    [Quantity::Usd, Quantity::Tokens, Quantity::Turns, Quantity::ModelCalls, Quantity::ToolCalls];

/// More agents or models than this have no zeros, which would take the place of series with values.
const MOST_NAMES: usize = 200;

/// Creates the counters of failures for all known agents and models.
pub(super) fn create(to: &Instruments, names: &KnownNames) {
    let failures = || FAILURES.into_iter().map(error_type);
    for agent in names.agents().take(MOST_NAMES) {
        for outcome in failures().chain(["finished", INTERNAL_ERROR]) {
            to.runs.with([agent, outcome]).increment(0);
        }
    }
    for ModelLabels { provider, model, .. } in names.models().take(MOST_NAMES) {
        for outcome in failures().chain(["ok"]) {
            to.attempts.with([provider, model, outcome]).increment(0);
        }
        to.usage_missing.with([provider, model]).increment(0);
    }
    for scope in ["process", "account"] {
        for quantity in QUANTITIES {
            to.budget_refusals.with([scope, quantity.name()]).increment(0);
        }
    }
}
