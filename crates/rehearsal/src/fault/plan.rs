//! Fault plans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::action::{FaultAction, InjectionPoint};
use crate::protocol::dialect::WireDialect;
use crate::script::script::PlanError;

/// A list of faults. The first whose selector fits a call strikes it.
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
pub struct FaultPlan {
    /// The faults, in the order in which they are tried.
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Reads a plan from TOML.
    ///
    /// # Errors
    /// If the text is not TOML or not a fault plan; the message names line and column.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        Ok(toml::from_str(text)?)
    }

    /// A plan of one fault.
    pub fn one(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Its name in the ledger of truth.
    pub id: String,
    /// The calls it strikes.
    #[serde(rename = "match")]
    pub selector: CallMatcher,
    /// Where in the answer it strikes, for actions that have a place.
    pub at: InjectionPoint,
    /// What happens.
    #[serde(rename = "do")]
    pub action: FaultAction,
}

/// Conditions on a call; those that are absent hold for every call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallMatcher {
    /// The agent that asks.
    pub agent: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The protocol spoken.
    pub dialect: Option<WireDialect>,
    /// Whether the answer is asked for as a stream.
    pub stream: Option<bool>,
    /// Text in the last user message.
    pub last_user_contains: Option<String>,
    /// The one call to strike, among those that fit all of the above, counted from 1. Calls that are
    /// refused before they reach the model, as invalid or as too many, are not counted.
    pub call: Option<u64>,
    /// The first call to strike, counted likewise.
    pub from_call: Option<u64>,
    /// The last call to strike, counted likewise.
    pub to_call: Option<u64>,
    /// Strike only this long after the simulator was built.
    #[serde(with = "humantime_serde")]
    pub before: Option<Duration>,
    /// Strike only from this long after the simulator was built.
    #[serde(with = "humantime_serde")]
    pub after: Option<Duration>,
}
