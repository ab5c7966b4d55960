//! The steps of `cargo xtask ci`.

pub(crate) mod build;
pub(crate) mod deny;
pub(crate) mod deploy;
pub(crate) mod examples;
pub(crate) mod fuzz_api;
pub(crate) mod github;
pub(crate) mod instructions;
pub(crate) mod package;
pub(crate) mod postgres;
pub(crate) mod tally;
