//! Lenient reading and direct writing of JSON.

pub(crate) mod body_writer;
pub(crate) mod json;
pub(crate) mod repair;
