//! The interface of a wire protocol, and helpers that several protocols share.

pub(crate) mod digest;
pub(crate) mod event_sink;
pub(crate) mod finished_reply;
pub(crate) mod known_models;
pub(crate) mod maker;
pub(crate) mod parameters;
pub(crate) mod protocol;
pub(crate) mod response_reader;
pub(crate) mod think_tags;
pub(crate) mod tool_calls;
pub(crate) mod usage;
