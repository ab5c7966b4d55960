//! Agents that work together: workers, pipelines, handoffs, quorums and remote agents.

pub(crate) mod handoff;
pub(crate) mod pipeline;
pub(crate) mod quorum;
pub(crate) mod remote;
pub(crate) mod worker;

#[cfg(test)]
mod tests;
