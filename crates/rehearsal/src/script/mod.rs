//! What the simulator answers, as data.

pub mod demo;
pub(crate) mod script;
