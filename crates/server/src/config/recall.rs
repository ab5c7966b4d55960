//! Long-term memory, and for how long the store keeps what.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Name,
    units::{self, Size},
};

/// Long-term memory: notes that agents are given with a `recall` of their own. They are kept in the `store`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recall {
    /// The model that finds notes by what they mean. Without one they are found by their words.
    pub(crate) embedding: Option<Embedding>,
    /// The longest note. 4 KiB: a thousand tokens, more than one fact needs.
    pub(crate) max_note: Size,
    /// The most notes that are kept together; the oldest are forgotten first. 10,000.
    #[serde(deserialize_with = "units::positive")]
    pub(crate) max_notes: u32,
}

/// A model that turns texts into vectors.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embedding {
    /// Its account, which speaks `OpenAI`'s protocol.
    #[schemars(with = "String")]
    pub(crate) provider: Name,
    /// Its name there, such as "text-embedding-3-small".
    pub(crate) model: String,
    /// How many numbers a vector has, where the model can shorten its own.
    #[serde(default, deserialize_with = "units::some_positive")]
    pub(crate) dimensions: Option<u32>,
}

/// What an agent has of long-term memory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AgentRecall {
    /// Whose notes: always those of the key that asks; and each `user` of its requests has notes of their own, unless
    /// this names no "user"; and so has each agent, if it names "agent".
    pub(crate) of: Vec<NotesOf>,
    /// The tools that it may use: all three, if absent.
    pub(crate) tools: Vec<NoteTool>,
    /// The most tokens of notes that go with each task, without its asking. None, if absent.
    #[serde(deserialize_with = "units::some_positive")]
    pub(crate) context_tokens: Option<u32>,
}

/// Who has notes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotesOf {
    /// Each person that requests name.
    User,
    /// Each agent.
    Agent,
}

/// A tool for notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoteTool {
    /// Keeps a note.
    Remember,
    /// Finds notes.
    Recall,
    /// Deletes a note.
    Forget,
}

/// For how long the store keeps what. What was spent is kept for ever.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    /// Sessions, from when they were last continued; such as "90d". For ever, if absent.
    #[serde(deserialize_with = "units::some_time")]
    #[schemars(with = "Option<String>")]
    pub(crate) sessions: Option<Duration>,
    /// Notes. For ever, if absent.
    #[serde(deserialize_with = "units::some_time")]
    #[schemars(with = "Option<String>")]
    pub(crate) notes: Option<Duration>,
    /// What happened in runs. 30 days: when people still ask.
    #[serde(deserialize_with = "units::time")]
    #[schemars(with = "String")]
    pub(crate) events: Duration,
    /// Runs with their cost and outcome. 90 days.
    #[serde(deserialize_with = "units::time")]
    #[schemars(with = "String")]
    pub(crate) runs: Duration,
}

impl NoteTool {
    /// The name by which models ask for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Remember => "remember",
            Self::Recall => "recall",
            Self::Forget => "forget",
        }
    }

    /// All there are.
    pub(crate) const ALL: [Self; 3] = [Self::Remember, Self::Recall, Self::Forget];
}

impl Default for Recall {
    fn default() -> Self {
        Self { embedding: None, max_note: Size { bytes: 4 << 10 }, max_notes: 10_000 }
    }
}

impl Default for AgentRecall {
    fn default() -> Self {
        Self { of: vec![NotesOf::User], tools: NoteTool::ALL.to_vec(), context_tokens: None }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self { sessions: None, notes: None, events: days(30), runs: days(90) }
    }
}
