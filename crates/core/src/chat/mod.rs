//! Messages, requests, replies and errors of model calls.

pub(crate) mod encoded;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod token_bound;
pub(crate) mod transcript;
