//! The context of one request, its events, and how its agents talk to each other.

pub(crate) mod blackboard;
pub(crate) mod builder;
pub(crate) mod bus;
pub(crate) mod counts;
pub(crate) mod derived;
pub(crate) mod event;
pub(crate) mod in_flight;
pub(crate) mod local_bus;
pub(crate) mod log;
pub(crate) mod mailbox;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod stop;
pub(crate) mod tool_status;
