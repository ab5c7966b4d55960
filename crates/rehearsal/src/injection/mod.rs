//! Applies a fault to the reply, its events, their bytes and the response.

pub(crate) mod events;
pub(crate) mod framing;
pub(crate) mod injector;
pub(crate) mod reply;
pub(crate) mod response;
pub(crate) mod steps;
