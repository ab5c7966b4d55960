//! Wrapping a model in the order in which one would say it.

use brigade_core::ChatModel;

use crate::{Alternate, Backoff, Fallback, Retry, Timeout, Timeouts};

/// Puts wrappers around a model, from the inside to the outside.
///
/// [`Policy::wrap`](crate::Policy::wrap) puts the standard ones in their order; these are for building a stack by hand.
pub trait Resilient: ChatModel + Sized {
    /// Ends attempts that take too long.
    fn timeout(self, limits: Timeouts) -> Timeout<Self> {
        Timeout::new(self, limits)
    }

    /// Tries failed calls again.
    fn retry(self, backoff: Backoff) -> Retry<Self> {
        Retry::new(self, backoff)
    }

    /// Asks another model when this one cannot answer.
    fn fallback(self, other: impl Into<Alternate>) -> Fallback<Self> {
        Fallback::new(self, other)
    }
}

impl<M: ChatModel> Resilient for M {}
