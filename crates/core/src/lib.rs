//! The heart of Brigade: the agent loop and everything it stands on.
//!
//! This crate does no network I/O and knows no provider.

pub mod blackboard;
pub mod budget;
pub mod bus;
pub mod cost;
pub mod encoded;
pub mod event;
pub mod ids;
pub mod ledger;
mod local_bus;
mod log;
pub mod memory;
pub mod message;
pub mod model;
mod money;
mod node;
pub mod outcome;
pub mod pricing;
pub mod reply;
pub mod request;
pub mod run;
pub mod tool;
pub mod transcript;
mod usage;

pub use blackboard::Blackboard;
pub use budget::{Budget, BudgetExceeded, Cap, Window};
pub use bus::{Bus, BusError, Delivery, Envelope, Inbox, Share};
pub use cost::{Certainty, Charge, CostSummary, Spending};
pub use encoded::{Dialect, Encodings};
pub use event::{Delta, Event, Observer};
pub use ids::{RunId, ShortTraceId, TraceId};
pub use ledger::{Estimate, Headroom, Hold, Ledger, Spender};
pub use local_bus::LocalBus;
pub use memory::{LocalMemory, Memory, MemoryError};
pub use message::{Arguments, Image, Message, Part, ProviderData, RawJson, Role, Text, Thinking, ToolCall, ToolResult};
pub use model::{ChatModel, Failure, ModelError, ModelErrorKind, ModelId, RetryAdvice, TimeoutPhase};
pub use money::{Money, ParseMoneyError};
pub use outcome::{Degraded, FailedRun, Outcome, RunError, RunFailure, StopReason};
pub use pricing::{Ceiling, Pricing};
pub use reply::{Allowance, ChatReply, RateLimits, Stop, StopKind};
pub use request::{
    ChatRequest, Effect, Effort, OutputSchema, PromptCache, Reasoning, Settings, ToolChoice, ToolSet, ToolSpec,
};
pub use run::{DepthExceeded, Run, RunBuilder, Step, Stopped};
pub use tool::{Tool, ToolError, ToolOutput};
pub use transcript::{Transcript, TranscriptError};
pub use usage::Usage;
