//! The interface of a wire protocol, and helpers that several protocols share.

pub(crate) mod digest;
pub(crate) mod effort;
pub(crate) mod event_sink;
pub(crate) mod finished_reply;
pub(crate) mod protocol;
pub(crate) mod response_reader;
pub(crate) mod think_tags;
pub(crate) mod tool_calls;
pub(crate) mod usage;
