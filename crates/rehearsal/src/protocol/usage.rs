//! Token counts: the ones that a vendor would bill, and the ones that a reply reports.

use serde::{Deserialize, Serialize};

use crate::protocol::field::Field;

/// The tokens of one call, as a vendor would bill them.
///
/// `input` is the whole prompt, including the tokens that were read from a cache or written to it. `output` includes
/// reasoning. Anthropic's `input_tokens` exclude cached tokens; the simulator converts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BilledUsage {
    /// Input tokens, including cached ones.
    pub input: u64,
    /// Input tokens that were read from a cache.
    pub cached: u64,
    /// Input tokens that were written to a cache. Only Anthropic reports them.
    pub cache_write: u64,
    /// Output tokens, including reasoning.
    pub output: u64,
    /// Output tokens that were reasoning.
    pub reasoning: u64,
}

impl BilledUsage {
    /// Adds the tokens of another call.
    pub fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.cache_write += other.cache_write;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}

/// The token counts that a reply reports. Signed, because some servers reported negative ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReportedUsage {
    pub(crate) input: i64,
    pub(crate) cached: i64,
    pub(crate) cache_write: i64,
    pub(crate) output: i64,
    pub(crate) reasoning: i64,
}

impl From<BilledUsage> for ReportedUsage {
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

/// Where a reply reports its usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum UsagePlacement {
    /// Where the vendor reports it.
    #[default]
    Usual,
    /// Nowhere.
    Absent,
    /// Where the vendor reports it, but `null`.
    Null,
    /// On the chunk with the finish reason.
    Finish,
    /// On every chunk, as a running total.
    EveryChunk,
}

impl UsagePlacement {
    /// The `usage` field of a reply that reports it once.
    pub(crate) fn field<T>(self, usage: T) -> Field<T> {
        match self {
            Self::Absent => Field::Absent,
            Self::Null => Field::Null,
            Self::Usual | Self::Finish | Self::EveryChunk => Field::Value(usage),
        }
    }
}
