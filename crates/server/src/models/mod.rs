//! Accounts at model providers.

pub(crate) mod account;
pub(crate) mod simulator;
