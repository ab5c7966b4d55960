//! Long-term memory, and how long the store keeps data.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Name,
    units::{self, ByteSize},
};

/// Long-term memory. Agents with a `recall` section write and find notes, which are kept in the `store`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecallConfig {
    /// The model that finds notes by meaning. Without it, notes are found by their words.
    pub embedding: Option<EmbeddingConfig>,
    /// The maximum size of a note. 4 KiB by default: about a thousand tokens, more than one fact needs.
    pub max_note: ByteSize,
    /// The maximum number of notes per owner; the oldest are deleted first. 10,000 by default, which is searched in
    /// milliseconds.
    #[serde(deserialize_with = "units::positive")]
    pub max_notes: u32,
}

/// An embedding model.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbeddingConfig {
    /// The name of an account in `providers`, of a kind that is compatible with `OpenAI`.
    #[schemars(with = "String")]
    pub provider: Name,
    /// The model's name at the provider, such as "text-embedding-3-small".
    pub model: String,
    /// The length of the vectors, for models that can shorten them.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub dimensions: Option<u32>,
}

/// An agent's access to long-term memory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AgentRecallConfig {
    /// The owners of separate notes. Each key has its own in any case; "user" separates the users that requests name,
    /// "agent" separates agents. `["user"]` by default.
    pub of: Vec<NoteOwner>,
    /// The tools for notes that the agent may call. All three by default.
    pub tools: Vec<NoteTool>,
    /// Adds matching notes to each task, up to this number of tokens. Off by default.
    #[serde(deserialize_with = "units::some_positive")]
    pub context_tokens: Option<u32>,
}

/// An owner of separate notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoteOwner {
    /// Each user that requests name.
    User,
    /// Each agent.
    Agent,
}

/// A tool for notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoteTool {
    /// Writes a note.
    Remember,
    /// Finds notes.
    Recall,
    /// Deletes a note.
    Forget,
}

/// How long the store keeps data. Spending is kept forever.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retention {
    /// How long sessions are kept after their last message, such as "90d". Forever by default.
    #[serde(deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub sessions: Option<Duration>,
    /// How long notes are kept after they were written. Forever by default.
    #[serde(deserialize_with = "units::some_duration")]
    #[schemars(with = "Option<String>")]
    pub notes: Option<Duration>,
    /// How long the events of runs are kept. 30 days by default, enough to investigate a run.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub events: Duration,
    /// How long runs are kept with their cost and outcome. 90 days by default, which covers a quarter.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub runs: Duration,
    /// How long the answers of stored runs are kept, so that a client that lost its connection gets its answer by its
    /// idempotency key. A day by default, as long as clients try again.
    #[serde(serialize_with = "humantime_serde::serialize", deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub answers: Duration,
}

impl NoteTool {
    /// The tool's name, as models see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Remember => "remember",
            Self::Recall => "recall",
            Self::Forget => "forget",
        }
    }

    /// All tools for notes.
    pub const ALL: [Self; 3] = [Self::Remember, Self::Recall, Self::Forget];
}

impl Default for RecallConfig {
    fn default() -> Self {
        Self { embedding: None, max_note: ByteSize { bytes: 4 << 10 }, max_notes: 10_000 }
    }
}

impl Default for AgentRecallConfig {
    fn default() -> Self {
        Self { of: vec![NoteOwner::User], tools: NoteTool::ALL.to_vec(), context_tokens: None }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self { sessions: None, notes: None, events: days(30), runs: days(90), answers: days(1) }
    }
}
