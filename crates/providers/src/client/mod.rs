//! Clients and models, generic over the wire protocol.

mod address;
pub(crate) mod builder;
pub(crate) mod client;
