//! State that all wrappers of a program share for each provider account and model.

pub(crate) mod accounts;
pub(crate) mod health;
pub(crate) mod sharing;
