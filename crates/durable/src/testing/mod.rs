//! Tests for implementations of [`RunStore`](crate::RunStore): conformance, and crashes. Enabled by the feature `testing`.

mod approval_contract;
mod contract;
mod stopping_store;
mod wait_contract;

pub use contract::run_store_contract;
pub use stopping_store::{Moment, StoppingStore};
