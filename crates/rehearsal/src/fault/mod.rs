//! What goes wrong, as data.

pub(crate) mod action;
pub(crate) mod kinds;
pub(crate) mod plan;
