//! Sending a second request when the first one is slow.

pub(crate) mod hedge;
