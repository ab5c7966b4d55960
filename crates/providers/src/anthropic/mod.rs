//! Anthropic Messages.

mod blocks;
mod content_block;
mod decode;
mod encode;
pub(crate) mod messages;
pub(crate) mod model_family;
mod reasoning;
mod wire;
