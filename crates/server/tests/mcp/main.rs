//! Real MCP servers and clients, and the official conformance suite. `cargo xtask ci --only mcp` runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on panics")]

mod client;
mod conformance;
mod peers;
mod servers;
mod team;
