//! The shipped binary over real sockets, against the provider simulator.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on panics")]

mod access;
mod chat;
mod client_tools;
mod clients;
mod command_line;
mod console;
mod demo;
mod deploy;
mod durable;
mod edge;
mod faults;
mod isolation;
mod kills;
mod life;
mod mcp;
mod network;
mod production;
mod readme;
mod recall;
mod responses;
mod runs;
mod spans;
mod store;
mod streaming;
mod support;
mod tools;
