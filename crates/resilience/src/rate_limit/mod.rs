//! Waiting until a call fits under the rate limits of its provider account.

pub(crate) mod bucket;
pub(crate) mod consumption;
pub(crate) mod dimension;
pub(crate) mod limiter;
pub(crate) mod pause;
pub(crate) mod queue;
pub(crate) mod rate_limit;
pub(crate) mod settings;
pub(crate) mod token_estimator;
