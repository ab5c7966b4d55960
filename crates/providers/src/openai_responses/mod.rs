//! OpenAI Responses.

mod decode;
mod encode;
mod items;
pub(crate) mod responses;
mod wire;
