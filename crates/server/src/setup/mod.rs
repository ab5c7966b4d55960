//! Errors of the setup of an API.

pub(crate) mod error;
