//! A scenario, its environment, and the records of a run.

pub(crate) mod environment;
pub(crate) mod observation;
pub(crate) mod scenario;
pub(crate) mod tools;
