//! Requests and replies, independent of their dialect.

pub(crate) mod content;
pub(crate) mod event;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod template;
