//! The server under load.

mod clients;
pub(crate) mod load;
mod overload;
pub(crate) mod pass_through;
mod server;
mod streams;
