//! Conformance tests for implementations of [`RunStore`](crate::RunStore). Enabled by the feature `testing`.

mod contract;

pub use contract::run_store_contract;
