//! Fault plans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::action::{FaultAction, InjectionPoint};
use crate::protocol::dialect::WireDialect;
use crate::script::error::PlanError;

/// A list of faults. The first one that matches a call is injected into its answer.
///
/// # Examples
///
/// ```
/// use brigade_rehearsal::FaultPlan;
///
/// let plan = FaultPlan::from_toml(r#"
///     [[fault]]
///     id    = "R13"
///     match = { agent = "researcher", call = 2, dialect = "anthropic" }
///     at    = { after_deltas = 3 }
///     do    = { sse_error = "overloaded_error", then = "close" }
///
///     [[fault]]
///     id    = "R03"
///     match = { model = "gpt-5-mini", call = 1 }
///     do    = { status = 429, headers = [["retry-after", "2"]] }
/// "#)?;
/// assert_eq!(plan.faults.len(), 2);
/// # Ok::<(), brigade_rehearsal::PlanError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FaultPlan {
    /// The faults, in the order in which they are tried.
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Parses a plan from TOML.
    ///
    /// # Errors
    /// If the text is not a valid fault plan. The source of the error names line and column.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        Ok(toml::from_str(text)?)
    }
}

/// One fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Fault {
    /// Its name in the call log.
    pub id: String,
    /// The calls that it applies to.
    #[serde(rename = "match")]
    pub calls: CallMatcher,
    /// Where in the answer it is injected, for actions that have a place.
    pub at: InjectionPoint,
    /// What happens.
    #[serde(rename = "do")]
    pub action: FaultAction,
}

/// Conditions on a call. Conditions that are not set always hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CallMatcher {
    /// The calling agent.
    pub agent: Option<String>,
    /// The requested model.
    pub model: Option<String>,
    /// The protocol.
    pub dialect: Option<WireDialect>,
    /// Whether the reply is streamed.
    pub stream: Option<bool>,
    /// A text in the last user message.
    pub last_user_contains: Option<String>,
    /// A text anywhere in the request's body, such as a field that the model refuses, or another account's reasoning.
    pub body_contains: Option<String>,
    /// The number of the call, counted from 1 among the calls for which all conditions above hold. Calls that are
    /// rejected as invalid or as rate limited are not counted.
    pub call: Option<u64>,
    /// The number of the first call, counted in the same way.
    pub from_call: Option<u64>,
    /// The number of the last call, counted in the same way.
    pub to_call: Option<u64>,
    /// Only before this time since the simulator was built.
    #[serde(with = "humantime_serde")]
    pub before: Option<Duration>,
    /// Only from this time on since the simulator was built.
    #[serde(with = "humantime_serde")]
    pub after: Option<Duration>,
}
