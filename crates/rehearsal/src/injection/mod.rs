//! Applying a fault to a reply, its events, its bytes and its timing.

pub(crate) mod events;
pub(crate) mod framing;
pub(crate) mod injector;
pub(crate) mod reply;
pub(crate) mod response;
pub(crate) mod steps;
