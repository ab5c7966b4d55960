//! Clients and models, generic over the wire protocol.

pub(crate) mod builder;
pub(crate) mod client;
