//! Groups of agents beyond a supervisor and its workers.
//!
//! | to do this | use |
//! |---|---|
//! | run agents one after the other | [`Pipeline`] |
//! | let agents pass a conversation on to each other | [`Handoff`] |
//! | ask several workers the same, and require some answers | [`Quorum`] |
//! | let agents of one request send each other messages | [`bus_tools`], or [`TeamRun::send_message`] |
//! | let agents of one request share notes | [`blackboard_tools`] and the [`Blackboard`] |
//! | call an agent in another process | [`host`] and [`RemoteAgent`], over a [`Bus`] that reaches it |
//!
//! Each group is a [`Runnable`](brigade_core::Runnable), so it can be a worker or a member of another group. None of them
//! has a loop over model turns of its own.

mod group;
mod shared;

#[cfg(test)]
mod fixtures;

pub use group::error::TeamError;
pub use group::handoff::Handoff;
pub use group::pipeline::Pipeline;
pub use group::quorum::Quorum;
pub use group::remote::{Host, RemoteAgent, host};
pub use shared::blackboard::{Blackboard, BlackboardError};
pub use shared::blackboard_tools::blackboard_tools;
pub use shared::bus::{Bus, BusError, Delivery, Envelope, Inbox, Subscription};
pub use shared::bus_tools::bus_tools;
pub use shared::local_bus::LocalBus;
pub use shared::team_run::{TeamRun, TeamRunBuilder};
