//! Sessions: conversations across requests.

pub(crate) mod memory;
pub(crate) mod session;
