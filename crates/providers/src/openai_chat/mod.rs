//! OpenAI Chat Completions, and the many servers that speak it.

pub(crate) mod chat_completions;
mod content_block;
mod decode;
mod encode;
mod message;
mod reasoning;
mod role_order;
pub(crate) mod server;
mod tool_call_deltas;
mod usage;
mod wire;
