//! Conversations.

pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod session;
pub(crate) mod stored_message;
