//! Brigade: rehearsal.

mod anthropic;
mod chat;
mod connection;
mod demo;
mod dialect;
mod failure;
mod fault;
mod headers;
mod ids;
mod limits;
mod models;
mod performance;
mod reply;
mod request;
mod responses;
mod script;
mod service;
mod simulator;
mod stage;
mod truth;
mod usage;

pub use dialect::Dialect;
pub use fault::{Action, At, Fault, FaultPlan, Framing, Markers, Say, Selector, Then, ToolDeltas, UsageLie};
pub use limits::RateLimits;
pub use script::{AgentMark, Answer, Latency, PlanError, Rule, Script, Stop, Tokens, ToolCall, When};
pub use simulator::{Builder, Running, Simulator};
pub use truth::{CallRecord, Ending, Totals, Truth};
pub use usage::Usage;
