//! The data of one model call: messages, transcripts, requests, replies and errors.

pub(crate) mod encoded;
pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod transcript;
