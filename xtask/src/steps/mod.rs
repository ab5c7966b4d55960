//! The steps of `cargo xtask ci` that are more than one call of cargo.

pub(crate) mod deny;
pub(crate) mod deploy;
pub(crate) mod examples;
pub(crate) mod fuzz_api;
