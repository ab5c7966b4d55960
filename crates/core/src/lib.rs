//! The heart of Brigade: the agent loop, and everything that makes a team of agents trustworthy.
//!
//! This crate does no network I/O and knows no provider. Models come in through [`ChatModel`], tools through [`Tool`].
//!
//! | to do this | use |
//! |---|---|
//! | run an agent | [`Agent`]; its loop is in one place, with limits on turns, time, money and repetition |
//! | give it tools | [`tool_fn`], or the trait [`Tool`]; the [`Toolbox`] validates, bounds and isolates the calls |
//! | make a team | [`Supervisor`] with [`Worker`]s, [`Pipeline`], [`Handoff`], [`Quorum`]; agents elsewhere with [`host`] and [`OnBus`] |
//! | limit what it spends | [`Budget`], kept by the [`Ledger`], enforced by [`Metered`] at the prices of a [`Pricing`] |
//! | watch it | [`Observer`] of [`Event`]s, or [`stream`] |
//! | let agents talk | [`bus_tools`], [`blackboard_tools`] |
//! | remember | [`Memory`] for sessions, [`Recall`] for notes, [`ContextWindow`] for what a model is still shown |
//!
//! A request runs straight down: [`Agent::run`] opens a [`Run`], the loop asks the model and runs the tools it calls; a
//! worker is a tool whose work is another agent in a child run. The result is an [`Outcome`] that says how it ended and
//! what it cost, or a [`RunError`] that says what was spent until then.
//!
//! ```
//! # use brigade_core::*;
//! # #[derive(Debug)] struct Parrot(ModelId);
//! # #[async_trait::async_trait] impl ChatModel for Parrot {
//! #     fn id(&self) -> &ModelId { &self.0 }
//! #     fn settings(&self) -> &Settings { Settings::none() }
//! #     async fn chat(&self, request: &ChatRequest, _: &Run) -> Result<Box<ChatReply>, ModelError> {
//! #         let asked = request.transcript.messages().last().map(|message| message.text().into_owned());
//! #         Ok(ChatReply::new(Message::assistant(asked.unwrap_or_default())))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Parrot(ModelId::new("zoo", "parrot"));
//! use std::time::Duration;
//!
//! use brigade_core::{Agent, Budget, StopReason, ToolOutput, tool_fn};
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

pub mod agent;
mod answer;
pub mod arguments;
mod attempt;
pub mod blackboard;
pub mod blackboard_tools;
pub mod budget;
pub mod bus;
pub mod bus_tools;
mod by_name;
mod calendar;
pub mod cost;
mod counts;
mod cycle;
pub mod embedder;
mod encoded;
pub mod event;
mod function;
pub mod guard;
mod handoff;
pub mod hosted;
pub mod ids;
mod learned;
pub mod ledger;
mod local_bus;
mod local_recall;
mod log;
mod mailbox;
pub mod memory;
pub mod message;
pub mod metered;
mod metered_embedder;
pub mod model;
mod money;
mod node;
mod notes;
pub mod outcome;
mod pipeline;
pub mod pricing;
mod quorum;
pub mod recall;
mod recent;
pub mod reply;
pub mod request;
mod reservation;
pub mod run;
mod runnable;
pub mod schema;
pub mod settings;
mod stream;
mod supervisor;
pub mod tool;
pub mod toolbox;
pub mod transcript;
mod turn;
mod turns;
mod until_stopped;
mod usage;
pub mod window;
mod worker;

pub use agent::{Agent, Limits, Task};
pub use blackboard::Blackboard;
pub use budget::{Budget, BudgetExceeded, Cap, WhenSpent, Window};
pub use bus::{Bus, BusError, Delivery, Envelope, Inbox, Share};
pub use by_name::ByName;
pub use calendar::Calendar;
pub use cost::{Certainty, Charge, CostSummary, Spending, ToolSpending};
pub use embedder::{Embedder, Embeddings};
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
pub use metered_embedder::MeteredEmbedder;
pub use model::{Answering, ChatModel, Failure, ModelError, ModelErrorKind, ModelId, RetryAdvice, TimeoutPhase};
pub use money::{Money, ParseMoneyError};
pub use notes::Notes;
pub use outcome::{Degraded, FailedRun, Outcome, RunError, RunFailure, SetupError, StopReason};
pub use pipeline::Pipeline;
pub use pricing::{Ceiling, LargestRun, Pricing, Rate, Rates, Served};
pub use quorum::Quorum;
pub use recall::{Note, NoteSource, Recall, RecallError, RecallQuery, Scope};
pub use reply::{Allowance, ChatReply, RateLimits, Stop, StopKind};
pub use request::{ChatRequest, Effect, ToolSet, ToolSpec};
pub use run::{DepthExceeded, Run, RunBuilder, Step, Stopped};
pub use runnable::{Runnable, Working};
pub use schema::{Schema, schema_of};
pub use settings::{Effort, OutputSchema, PromptCache, Reasoning, Settings, ToolChoice};
pub use stream::{RunItem, stream};
pub use supervisor::Supervisor;
pub use tool::{Calling, Tool, ToolError, ToolOutput};
pub use toolbox::{ToolLimits, Toolbox, ToolboxError};
pub use transcript::{Transcript, TranscriptError};
pub use usage::Usage;
pub use window::{Compactor, ContextWindow, Summarizer};
pub use worker::{OnFailure, Worker};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
