//! The agent and its loop.

pub(crate) mod agent;
pub(crate) mod answer;
pub(crate) mod cycle;
pub(crate) mod end;
pub(crate) mod guard;
pub(crate) mod limits;
pub(crate) mod outcome;
pub(crate) mod runnable;
pub(crate) mod stream;
pub(crate) mod task;
pub(crate) mod turn;
pub(crate) mod turns;
pub(crate) mod window;
