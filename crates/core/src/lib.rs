//! The core of Brigade: agents, their tools, and limits on their time, turns and money.
//!
//! This crate does no network I/O and knows no provider. Models implement [`ChatModel`], tools implement [`Tool`].
//!
//! | to do this | use |
//! |---|---|
//! | run an agent | [`Agent`], with limits on turns, time, money and repetition |
//! | add tools | [`tool_fn`], or the trait [`Tool`]; a [`Toolbox`] validates arguments, limits calls and isolates failures |
//! | build a team | an [`Agent`] with [`Worker`]s: a supervisor; other groups are in `brigade-teams`, or your own with [`impl_runnable`] |
//! | limit spending | a [`Budget`]; the [`Ledger`] enforces it for [`Metered`] models at the prices of a [`Pricing`] |
//! | observe runs | an [`Observer`] of [`Event`]s, or [`stream`] |
//! | survive a crash | a [`Journal`]; `brigade-durable` has one, with a store and a worker loop |
//! | remember | [`Memory`] for sessions, [`TaskNotes`] for notes (`brigade-notes`), [`ContextWindow`] for long conversations |
//!
//! [`Agent::run`] opens a [`Run`]. Its loop calls the model, runs the tools that the model calls, and repeats until the
//! model answers. A worker is a tool that runs another agent in a child run. The result is an [`Outcome`] or a
//! [`RunError`]; both include the cost of the run.
//!
//! ```
//! # use brigade_core::*;
//! # #[derive(Debug)] struct Parrot(ModelId);
//! # #[async_trait] impl ChatModel for Parrot {
//! #     fn id(&self) -> &ModelId { &self.0 }
//! #     fn settings(&self) -> &Settings { Settings::none() }
//! #     async fn chat(&self, request: &ChatRequest, _: &Run) -> Result<ChatReply, ModelError> {
//! #         let asked = request.transcript.messages().last().map(|message| message.text().into_owned());
//! #         Ok(ChatReply::new(Message::assistant(asked.unwrap_or_default())))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Parrot(ModelId::new("zoo", "parrot"));
//! use std::time::Duration;
//!
//! use brigade_core::{Agent, Budget, ToolOutput, tool_fn};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Lookup {
//!     /// The word to look up.
//!     word: String,
//! }
//!
//! let lookup = tool_fn("lookup", "Looks a word up.", |args: Lookup, _run| async move {
//!     Ok(ToolOutput::text(format!("{}: not in the dictionary", args.word)))
//! });
//! let clerk = Agent::new("clerk", model)
//!     .instructions("Explain words.")
//!     .tool(lookup)
//!     .budget(Budget::unlimited().tokens(20_000).wall(Duration::from_mins(1)));
//!
//! let outcome = clerk.run("What is kefir?").await?;
//! println!("{}\n{}", outcome.text, outcome.summary());
//! assert_eq!(outcome.stop, StopReason::Finished);
//! # Ok(())
//! # }
//! ```
//!
//! # Dependencies of a program
//!
//! The types of arguments and answers derive traits of `serde` and `schemars`, so a program with typed tools depends on
//! both. These lines are enough for the example:
//!
//! ```toml
//! [dependencies]
//! brigade-core = { path = "brigade/crates/core" }
//! schemars = "1"
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! | for | add |
//! |---|---|
//! | [`Tool`] implemented by hand: its arguments are a `serde_json::Value` | `serde_json = "1"` |
//! | the items of [`stream`] with `StreamExt` | `futures = "0.3"` |
//! | [`RunBuilder::cancellation`], which takes a `CancellationToken` | `tokio-util = "0.7"` |

#[macro_use]
mod setters;

mod agent;
mod chat;
mod memory;
mod model;
mod money;
mod run;
mod sync;
mod team;
mod tool;

pub use agent::agent::Agent;
pub use agent::limits::TurnLimits;
pub use agent::options::RunOptions;
pub use agent::outcome::Outcome;
pub use agent::run_error::{RunError, RunFailure};
pub use agent::runnable::Runnable;
pub use agent::stream::{RunItem, stream};
pub use agent::task::Task;
pub use agent::window::ContextWindow;
pub use async_trait::async_trait;
pub use brigade_values::{
    Degradation, ErrorChain, ModelId, Money, ParseError, Rate, Rates, RawJson, RunId, Scope, StopReason, ToolStatus,
    TraceId, Usage,
};
pub use chat::encoded::Dialect;
pub use chat::error::{ModelError, ModelErrorDetails, ModelErrorKind, RetryAdvice, TimeoutPhase};
pub use chat::message::{Arguments, Image, Message, Part, ProviderData, Role, TextPart, ToolCall, ToolResult};
pub use chat::reply::{ChatReply, FinishReason, RateLimitStatus, RateLimits};
pub use chat::request::{ChatRequest, Effect, ToolSet, ToolSpec};
pub use chat::settings::{Effort, OutputSchema, PromptCache, Reasoning, Settings, ToolChoice};
pub use chat::transcript::{Transcript, TranscriptError};
pub use memory::memory::{LocalMemory, Memory, MemoryError};
pub use memory::task_notes::TaskNotes;
pub use model::embedder::{Embedder, Embeddings};
pub use model::metered::{Metered, ModelExt, UnpricedPolicy};
pub use model::model::ChatModel;
pub use model::pricing::{PriceCeiling, Pricing, ServedCall};
pub use money::budget::{Budget, BudgetExceeded, Cap, OnExhausted, Quantity, Window};
pub use money::cost::{Certainty, Charge, CostSummary, Spending, ToolSpending};
pub use money::estimate::Estimate;
pub use money::ledger::{Hold, Ledger};
pub use run::builder::RunBuilder;
pub use run::event::{BreakerState, Delta, Event, Observer};
pub use run::journal::{Journal, JournalError, StepRecord, StepState};
pub use run::record::EventRecord;
pub use run::run::{DepthExceeded, Interruption, Run};
pub use team::worker::{OnFailure, Worker};
pub use tool::function::{FunctionTool, tool_fn};
pub use tool::limits::ToolLimits;
pub use tool::schema::Schema;
pub use tool::tool::{Tool, ToolError, ToolOutput};
pub use tool::toolbox::{Toolbox, ToolboxError};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
