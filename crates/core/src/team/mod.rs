//! Agents working together: workers, pipelines, handoffs, quorums and agents on the bus.

pub(crate) mod handoff;
pub(crate) mod pipeline;
pub(crate) mod quorum;
pub(crate) mod remote;
pub(crate) mod worker;
