//! A simulator of model providers, with faults.
//!
//! It speaks `OpenAI` Chat Completions, `OpenAI` Responses, Anthropic Messages and `OpenAI` embeddings over HTTP/1.1, with
//! the headers, error bodies, event framing and usage rules of the vendors, as recorded from the real services. Use it for
//! tests and demonstrations of anything that calls models: it costs nothing, needs no key, and fails on demand in the ways
//! in which providers fail.
//!
//! | item | what it is |
//! |---|---|
//! | [`Script`] | the answers: rules over agent, model, turn and text. By default the last user message is repeated |
//! | [`FaultPlan`] | which calls fail, how, and where in their answer |
//! | [`CallLog`] | what was generated and what a vendor would bill, even for streams that were cut off |
//! | [`SimulatorBuilder::strict`] | rejects the requests that the vendor rejects, with the vendor's messages |
//! | [`SimulatorBuilder::template`] | rejects the histories that strict servers and chat templates reject |
//! | [`SimulatedRateLimits`] | enforces rate limits, with the headers and the 429 of the vendor |
//! | [`demo`] | a built-in script with a supervisor and three workers |
//!
//! [`Simulator::serve`] listens on a socket. [`Simulator::serve_connection`] serves a stream in memory, where tokio's clock
//! can be paused, so that a stall of ten minutes takes no time.
//!
//! ```
//! use brigade_rehearsal::{CallState, FaultPlan, Script, Simulator};
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
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let simulator = Simulator::builder().script(script).faults(plan).build();
//! let running = simulator.serve_locally().await?;
//!
//! // Let a client call running.base_url(), and then check what the provider saw:
//! running.call_log().wait_until_idle().await;
//! assert!(running.call_log().calls().iter().all(|call| call.state == CallState::Complete));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! The calling agent is known by the header `x-brigade-agent`, or else by the [`AgentMatcher`]s of the script. Token counts
//! that a script does not set are estimated, close to those of the vendors' tokenizers.

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

pub use call_log::call_log::{CallLog, CallTotals};
pub use call_log::record::{CallRecord, CallState};
pub use fault::action::{FaultAction, InjectionPoint};
pub use fault::kinds::{Framing, ReplyFault, ResponseEnd, TerminalMarkers, ToolDeltas, UsageFault};
pub use fault::plan::{CallMatcher, Fault, FaultPlan};
pub use limits::limiter::SimulatedRateLimits;
pub use protocol::dialect::WireDialect;
pub use protocol::usage::BilledUsage;
pub use script::answer::{Latency, ScriptedAnswer, ScriptedFinish, ScriptedToolCall, TokenCounts};
pub use script::demo;
pub use script::error::PlanError;
pub use script::script::{AgentMatcher, RequestMatcher, Rule, Script};
pub use simulator::service::AGENT_HEADER;
pub use simulator::simulator::{RunningSimulator, Simulator, SimulatorBuilder};
