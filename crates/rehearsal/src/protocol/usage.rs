//! Token counts: those that are true, and those that an answer tells.

use serde::{Deserialize, Serialize};

/// Tokens of one call, as a vendor would bill them.
///
/// `input` counts the whole prompt, with what came from a cache and what was written to it;
/// `output` counts the reasoning too. Anthropic's wire numbers differ (its `input_tokens` leave
/// the cached ones out); the simulator translates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BilledUsage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the prompt that were read from a cache.
    pub cached: u64,
    /// Tokens of the prompt that were written to a cache. Anthropic alone reports them.
    pub cache_write: u64,
    /// Tokens that the model produced, reasoning included.
    pub output: u64,
    /// Tokens of the output that were reasoning.
    pub reasoning: u64,
}

impl BilledUsage {
    /// Adds another call's tokens.
    pub fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.cache_write += other.cache_write;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}

/// The token numbers an answer shows on the wire, signed because some servers sent a negative one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) input: i64,
    pub(crate) cached: i64,
    pub(crate) cache_write: i64,
    pub(crate) output: i64,
    pub(crate) reasoning: i64,
}

impl From<BilledUsage> for Told {
    fn from(usage: BilledUsage) -> Self {
        let signed = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        Self {
            input: signed(usage.input),
            cached: signed(usage.cached),
            cache_write: signed(usage.cache_write),
            output: signed(usage.output),
            reasoning: signed(usage.reasoning),
        }
    }
}

/// Where in an answer the usage stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the vendor puts it.
    #[default]
    Usual,
    /// Nowhere.
    Absent,
    /// Where the vendor puts it, but null.
    Null,
    /// On the chunk that carries the finish reason.
    Finish,
    /// On every chunk, as a running total.
    Everywhere,
}

/// A field of a document that may be there, be there as null, or be left out (with
/// `skip_serializing_if = "Field::is_absent"`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Field<T> {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The usage of an answer that tells it once.
    pub(crate) fn usage(place: Place, usage: T) -> Self {
        match place {
            Place::Absent => Self::Absent,
            Place::Null => Self::Null,
            Place::Usual | Place::Finish | Place::Everywhere => Self::Value(usage),
        }
    }
}
