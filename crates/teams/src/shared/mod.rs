//! What the agents of one request share: messages and notes.

pub(crate) mod blackboard;
pub(crate) mod blackboard_tools;
pub(crate) mod bus;
pub(crate) mod bus_tools;
pub(crate) mod local_bus;
pub(crate) mod mailbox;
pub(crate) mod team_run;
