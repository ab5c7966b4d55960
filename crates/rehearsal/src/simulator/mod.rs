//! The simulator: an HTTP server that answers from a script.

pub(crate) mod connection;
pub(crate) mod dialects;
pub(crate) mod embeddings;
pub(crate) mod headers;
pub(crate) mod issued_reasoning;
pub(crate) mod models;
pub(crate) mod response_plan;
pub(crate) mod service;
pub(crate) mod simulator;
pub(crate) mod step_runner;
