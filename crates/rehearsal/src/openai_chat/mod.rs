//! `OpenAI` Chat Completions.

pub(crate) mod history;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod stream;
pub(crate) mod template;
