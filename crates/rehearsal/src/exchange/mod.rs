//! Requests and replies, independent of their dialect.

pub(crate) mod reply;
pub(crate) mod request;
