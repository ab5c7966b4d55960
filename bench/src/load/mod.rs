//! The server under load.

mod clients;
pub(crate) mod load;
mod server;
