//! Tokens that a model call used, in one normalised form.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::Money;

/// Tokens used by one model call, or by several added up.
///
/// Providers count differently; clients normalise once, so that everywhere else
/// `input_tokens = uncached + cache_read_tokens + cache_write_tokens` and `output_tokens` includes reasoning. A part
/// that the provider did not report is absent, not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All prompt tokens, cached or not.
    pub input_tokens: u64,
    /// All generated tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of the input that was read from a prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// The part of the input that was written to a prompt cache, of any life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// The part of `cache_write_tokens` written to a cache with a life of one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Web searches that the provider ran and bills by use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_searches: Option<u64>,
    /// The cost as the provider itself states it, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_cost: Option<Money>,
}

impl Usage {
    /// Usage without any breakdown.
    pub const fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens,
            output_tokens,
            cache_read_tokens: None,
            cache_write_tokens: None,
            cache_write_1h_tokens: None,
            reasoning_tokens: None,
            web_searches: None,
            stated_cost: None,
        }
    }

    /// Prompt tokens that neither came from a cache nor went into one.
    pub fn uncached_input_tokens(&self) -> u64 {
        let cached = self.cache_read_tokens.unwrap_or(0).saturating_add(self.cache_write_tokens.unwrap_or(0));
        self.input_tokens.saturating_sub(cached)
    }

    /// Input and output together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        add(&mut self.cache_read_tokens, other.cache_read_tokens);
        add(&mut self.cache_write_tokens, other.cache_write_tokens);
        add(&mut self.cache_write_1h_tokens, other.cache_write_1h_tokens);
        add(&mut self.reasoning_tokens, other.reasoning_tokens);
        add(&mut self.web_searches, other.web_searches);
        if let Some(cost) = other.stated_cost {
            self.stated_cost = Some(self.stated_cost.unwrap_or_default() + cost);
        }
    }
}

/// Absent plus absent stays absent; anything observed counts.
fn add(total: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *total = Some(total.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reported_stays_absent_in_a_sum() {
        let mut total = Usage::new(10, 5);
        total += Usage { cache_read_tokens: Some(3), ..Usage::new(4, 1) };
        assert_eq!(total.input_tokens, 14);
        assert_eq!(total.cache_read_tokens, Some(3));
        assert_eq!(total.reasoning_tokens, None);
        assert_eq!(total.uncached_input_tokens(), 11);
    }
}
