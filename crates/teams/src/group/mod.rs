//! Agents that work together: pipelines, handoffs, quorums and remote agents.

pub(crate) mod error;
pub(crate) mod handoff;
pub(crate) mod pipeline;
pub(crate) mod quorum;
pub(crate) mod remote;

#[cfg(test)]
mod tests;
