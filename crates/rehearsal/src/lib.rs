//! A provider that is not there: a simulator of model providers, with faults.
//!
//! It speaks `OpenAI` Chat Completions, `OpenAI` Responses and Anthropic Messages over HTTP/1.1, and
//! `OpenAI`'s embeddings, whose vectors are close to each other where texts share words or parts of words;
//! with the headers, error bodies, event framing and usage rules of the vendors, as recorded from
//! the real services. It is made for tests and demonstrations of whatever calls models: it costs
//! nothing, needs no key, and breaks on demand in the ways in which providers break.
//!
//! | part | what it is |
//! |---|---|
//! | [`Script`] | what is answered: rules over agent, model, turn and text. Stateless; a default answer echoes |
//! | [`FaultPlan`] | what goes wrong, with which call, and where in its answer |
//! | [`CallLog`] | what was generated and what a vendor would bill, also for streams cut short |
//! | [`SimulatorBuilder::strict`] | refuses the requests that the vendor refuses, in the vendor's words |
//! | [`SimulatedRateLimits`] | enforced limits, with the headers and the 429 of the vendor |
//! | [`demo`] | a built-in script with a supervisor and three workers |
//!
//! [`Simulator::serve`] listens on a socket; [`Simulator::serve_connection`] serves a stream in
//! memory, where a paused clock makes a stall of ten minutes last no time at all. All waiting goes
//! through `tokio::time`.
//!
//! ```
//! use brigade_rehearsal::{Ending, FaultPlan, Script, Simulator};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let script = Script::from_toml(r#"
//!     [[rule]]
//!     when   = { last_user_contains = "weather", turn = 0, tools = true }
//!     answer = { tool_calls = [{ name = "forecast", arguments = '{"city":"Paris"}' }] }
//!
//!     [[rule]]
//!     answer = { text = "Sunny. ({{tool_results}})", latency = { first = "300ms", between = "20ms" } }
//! "#)?;
//!
//! let plan = FaultPlan::from_toml(r#"
//!     [[fault]]                                   # the first call is rate limited
//!     id    = "R03"
//!     match = { model = "gpt-5-mini", call = 1 }
//!     do    = { status = 429, headers = [["retry-after-ms", "1500"]] }
//!
//!     [[fault]]                                   # the second breaks inside a tool call
//!     id    = "R12"
//!     match = { model = "gpt-5-mini", call = 2 }
//!     at    = { mid_arguments = true }
//!     do    = { then = "reset" }
//! "#)?;
//!
//! # let runtime = tokio::runtime::SimulatorBuilder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let simulator = Simulator::builder().script(script).faults(plan).build();
//! let running = simulator.serve_locally().await?;
//!
//! // Point a client at running.base_url(), run what is to be tested, and then ask:
//! running.call_log().wait_until_idle().await;
//! assert!(running.call_log().calls().iter().all(|call| call.state == CallState::Complete));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! Who asks is told by the header `x-brigade-agent`, or else by the marks in the script
//! ([`AgentMatcher`]). Numbers of tokens, where a script does not give them, are about those of the vendors' tokenizers.

mod anthropic;
mod call_log;
mod exchange;
mod fault;
mod injection;
mod limits;
mod openai_chat;
mod openai_responses;
mod protocol;
mod script;
mod simulator;

pub use call_log::call_log::{CallLog, CallRecord, CallState, CallTotals};
pub use fault::action::{FaultAction, InjectionPoint};
pub use fault::kinds::{Framing, ReplyFault, ResponseEnd, TerminalMarkers, ToolDeltas, UsageFault};
pub use fault::plan::{CallMatcher, Fault, FaultPlan};
pub use limits::limits::SimulatedRateLimits;
pub use protocol::dialect::WireDialect;
pub use protocol::usage::BilledUsage;
pub use script::demo;
pub use script::script::{
    AgentMatcher, FinishReason, Latency, PlanError, RequestMatcher, Rule, Script, ScriptedAnswer, ScriptedToolCall,
    TokenCounts,
};
pub use simulator::service::AGENT_HEADER;
pub use simulator::simulator::{RunningSimulator, Simulator, SimulatorBuilder};
