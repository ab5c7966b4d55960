//! Plain values: ids, amounts of money, token counts, JSON text, the text of errors, and how runs and tool calls end.
//!
//! They know nothing of agents and runs. `brigade-core` exports all of them, so programs import them from there.

mod error_chain;
mod ids;
mod json;
mod money;
mod rates;
mod stop;
mod tool_status;
mod usage;

pub use error_chain::ErrorChain;
pub use ids::{ModelId, ParseError, RunId, Scope, TraceId};
pub use json::RawJson;
pub use money::Money;
pub use rates::{Rate, Rates};
pub use stop::{Degradation, StopReason};
pub use tool_status::ToolStatus;
pub use usage::Usage;
