//! The `[approvals]` section, and which calls a person must approve.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::units;

/// How calls wait until a person approves them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ApprovalsConfig {
    /// After this time a call without an answer is denied. "24h" by default: a person sees it on the next day.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub expire: Duration,
    /// How long after its start a request to `/v1/chat/completions` still stays open while a call waits. "60s" by default,
    /// which clients wait for an answer anyway. It keeps its place among `server.max_runs` meanwhile. Then the response says
    /// what the run waits for. "0s" ends it at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub wait_in_request: Duration,
    /// Whether the key that started a run may not approve its calls. False by default.
    pub four_eyes: bool,
}

/// Which calls a person must approve.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApproveConfig {
    /// No call.
    #[default]
    Never,
    /// Every call.
    Always,
    /// Calls whose arguments match this JSON Schema: `{ when = { properties = { amount = { minimum = 100 } } } }`.
    When(Map<String, Value>),
}

impl Default for ApprovalsConfig {
    fn default() -> Self {
        Self { expire: Duration::from_hours(24), wait_in_request: Duration::from_mins(1), four_eyes: false }
    }
}
