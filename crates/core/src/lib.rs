//! The heart of Brigade: the agent loop and everything it stands on.
//!
//! This crate does no network I/O and knows no provider.

pub mod agent;
mod answer;
pub mod arguments;
mod attempt;
pub mod blackboard;
pub mod blackboard_tools;
pub mod budget;
pub mod bus;
pub mod bus_tools;
mod calendar;
pub mod cost;
pub mod encoded;
pub mod event;
mod function;
pub mod guard;
mod handoff;
pub mod hosted;
pub mod ids;
pub mod ledger;
mod local_bus;
mod local_recall;
mod log;
mod mailbox;
pub mod memory;
pub mod message;
pub mod metered;
pub mod model;
mod money;
mod node;
pub mod outcome;
mod pipeline;
pub mod pricing;
mod quorum;
pub mod recall;
pub mod recall_tools;
mod recent;
pub mod reply;
pub mod request;
pub mod run;
mod runnable;
pub mod schema;
mod stream;
mod supervisor;
pub mod tool;
pub mod toolbox;
pub mod transcript;
mod turn;
mod turns;
mod usage;
pub mod window;
mod worker;

pub use agent::{Agent, Limits, Task};
pub use blackboard::Blackboard;
pub use budget::{Budget, BudgetExceeded, Cap, Window};
pub use bus::{Bus, BusError, Delivery, Envelope, Inbox, Share};
pub use calendar::Calendar;
pub use cost::{Certainty, Charge, CostSummary, Spending};
pub use encoded::{Dialect, Encodings};
pub use event::{Delta, Event, Observer};
pub use function::{FnTool, tool_fn};
pub use handoff::Handoff;
pub use hosted::{Hosted, OnBus, host};
pub use ids::{RunId, ShortTraceId, TraceId};
pub use ledger::{Estimate, Headroom, Hold, Ledger, Spender};
pub use local_bus::LocalBus;
pub use local_recall::LocalRecall;
pub use memory::{LocalMemory, Memory, MemoryError};
pub use message::{Arguments, Image, Message, Part, ProviderData, RawJson, Role, Text, Thinking, ToolCall, ToolResult};
pub use metered::{Metered, ModelExt, Unpriced};
pub use model::{ChatModel, Failure, ModelError, ModelErrorKind, ModelId, RetryAdvice, TimeoutPhase};
pub use money::{Money, ParseMoneyError};
pub use outcome::{Degraded, FailedRun, Outcome, RunError, RunFailure, SetupError, StopReason};
pub use pipeline::Pipeline;
pub use pricing::{Ceiling, LargestRun, Pricing, Rate, Rates, Served};
pub use quorum::Quorum;
pub use recall::{Note, NoteSource, Recall, RecallError, Scope};
pub use reply::{Allowance, ChatReply, RateLimits, Stop, StopKind};
pub use request::{
    ChatRequest, Effect, Effort, OutputSchema, PromptCache, Reasoning, Settings, ToolChoice, ToolSet, ToolSpec,
};
pub use run::{DepthExceeded, Run, RunBuilder, Step, Stopped};
pub use runnable::Runnable;
pub use schema::{Schema, schema_of};
pub use stream::{RunItem, stream};
pub use supervisor::Supervisor;
pub use tool::{Tool, ToolError, ToolOutput};
pub use toolbox::{ToolLimits, Toolbox, ToolboxError};
pub use transcript::{Transcript, TranscriptError};
pub use usage::Usage;
pub use window::{Compactor, ContextWindow, Summarizer};
pub use worker::{OnFailure, Worker};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
