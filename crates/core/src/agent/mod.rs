//! The agent and its loop.

pub(crate) mod agent;
pub(crate) mod agent_loop;
pub(crate) mod delegation;
pub(crate) mod exit;
pub(crate) mod limits;
pub(crate) mod loop_guard;
pub(crate) mod next_step;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod run_end;
pub(crate) mod run_error;
pub(crate) mod runnable;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod task;
pub(crate) mod turn;
pub(crate) mod window;
