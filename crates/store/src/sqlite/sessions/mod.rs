//! Conversations.

pub(crate) mod memory;
pub(crate) mod parts;
pub(crate) mod session;
