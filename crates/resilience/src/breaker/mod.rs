//! Circuit breakers, which refuse calls to a model that keeps failing.

pub(crate) mod breaker;
pub(crate) mod circuit;
pub(crate) mod settings;
