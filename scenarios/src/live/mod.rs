//! Compares real providers with the simulator: the same checks, through the same clients.

pub(crate) mod check;
pub(crate) mod command;
pub(crate) mod facts;
pub(crate) mod plan;
pub(crate) mod reference;
pub(crate) mod report;
pub(crate) mod subject;
pub(crate) mod target;
