//! Chat Completions.

pub(crate) mod chat_body;
pub(crate) mod chat_messages;
pub(crate) mod chat_usage;
pub(crate) mod completion;
