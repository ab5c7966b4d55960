//! Agents that clients can call, built in code or from the configuration.

pub(crate) mod demo;
pub(crate) mod from_config;
pub(crate) mod mcp;
mod recall;
pub(crate) mod served;
mod tools;

pub(crate) use recall::open as open_recall;
