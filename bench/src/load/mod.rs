//! The server under load.

mod clients;
pub(crate) mod load;
pub(crate) mod pass_through;
mod server;
mod streams;
