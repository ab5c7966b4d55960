//! Tests of clients against local servers, and of response reading in all protocols.

mod client;
mod dialects;
mod error_content;
pub(crate) mod events;
mod fuzz;
mod requests;
mod response_reader;
