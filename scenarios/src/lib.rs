//! Failure scenarios for the whole stack, and the invariants that must hold in each of them.
//!
//! A [`Scenario`] is data: what the model says, which faults occur, who calls, and what must result. [`play`] runs it in
//! one dialect: agents, the standard stack of wrappers and the real HTTP clients against a simulated provider over
//! loopback, in virtual time ([`in_virtual_time`]), so that a stall of ten minutes takes no time. [`judge`] checks the
//! records of both ends of the wire against ten invariants, and against what the scenario itself expects.
//!
//! [`all_scenarios`] lists the scenarios. [`random_scenario`] composes faults at random. [`LiveCommand`] compares real
//! providers with the simulator.

mod judge;
mod live;
mod play;
mod scenario;
mod swarm;
mod table;

pub use judge::judge::{Violation, judge, judge_invariants};
pub use judge::report::{Report, ReportRow};
pub use live::command::LiveCommand;
pub use live::reference::live_simulator;
pub use play::play::play;
pub use play::virtual_time::in_virtual_time;
pub use scenario::environment::Environment;
pub use scenario::observation::{Control, Observation, ObservedEnd, RecordedEvent};
pub use scenario::scenario::{Caller, Check, Expected, ExpectedBill, ExpectedEnd, Scenario, Team, Unreachable};
pub use scenario::tools::{ScriptedTool, ToolBehavior, ToolLog};
pub use swarm::{judge_seed, random_scenario};
pub use table::broken_on_purpose::broken_on_purpose;
pub use table::{all_scenarios, scenarios_numbered};
