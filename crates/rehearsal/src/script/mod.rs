//! The answers of the simulator, as data.

pub(crate) mod answer;
pub mod demo;
pub(crate) mod error;
pub(crate) mod script;
