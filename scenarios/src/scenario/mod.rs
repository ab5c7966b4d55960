//! A scenario, where it runs, and what is recorded of it.

pub(crate) mod environment;
pub(crate) mod observation;
pub(crate) mod scenario;
pub(crate) mod tools;
