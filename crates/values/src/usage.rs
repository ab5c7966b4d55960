//! Tokens that a model call used, in one form for all providers.

use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Money;

/// Tokens used by one model call, or the sum of several.
///
/// Providers count differently, so each client converts to this form:
/// `input_tokens = uncached + cache_read_tokens + cache_write_tokens`, and `output_tokens` includes reasoning. A number
/// that the provider did not report is absent, not zero.
///
/// ```
/// use brigade_core::Usage;
///
/// let usage = Usage::new(1_000, 200).cache_read_tokens(Some(900));
/// assert_eq!(usage.uncached_input_tokens(), 100);
/// ```
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Usage {
    /// All prompt tokens, cached or not.
    pub input_tokens: u64,
    /// All generated tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of the input that was read from a prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// The part of the input that was written to a prompt cache, for any lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// The part of `cache_write_tokens` that was written to a cache with a lifetime of one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Web searches that the provider ran and bills individually.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_searches: Option<u64>,
    /// The cost that the provider itself reported.
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

    /// Sets the generated tokens.
    pub const fn output_tokens(self, tokens: u64) -> Self {
        Self { output_tokens: tokens, ..self }
    }

    /// Sets the input tokens that were read from a prompt cache.
    pub const fn cache_read_tokens(self, tokens: Option<u64>) -> Self {
        Self { cache_read_tokens: tokens, ..self }
    }

    /// Sets the input tokens that were written to a prompt cache, for any lifetime.
    pub const fn cache_write_tokens(self, tokens: Option<u64>) -> Self {
        Self { cache_write_tokens: tokens, ..self }
    }

    /// Sets the part of the cache writes with a lifetime of one hour.
    pub const fn cache_write_1h_tokens(self, tokens: Option<u64>) -> Self {
        Self { cache_write_1h_tokens: tokens, ..self }
    }

    /// Sets the output tokens that were reasoning.
    pub const fn reasoning_tokens(self, tokens: Option<u64>) -> Self {
        Self { reasoning_tokens: tokens, ..self }
    }

    /// Sets the number of web searches.
    pub const fn web_searches(self, searches: Option<u64>) -> Self {
        Self { web_searches: searches, ..self }
    }

    /// Sets the cost that the provider itself reported.
    pub const fn stated_cost(self, cost: Option<Money>) -> Self {
        Self { stated_cost: cost, ..self }
    }

    /// Prompt tokens that were neither read from a cache nor written to one.
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

/// Adds an amount that may be absent. Absent plus absent stays absent.
fn add(total: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *total = Some(total.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_not_reported_stays_absent_in_a_sum() {
        let mut total = Usage::new(10, 5);
        total += Usage::new(4, 1).cache_read_tokens(Some(3));
        assert_eq!(total.input_tokens, 14);
        assert_eq!(total.cache_read_tokens, Some(3));
        assert_eq!(total.reasoning_tokens, None);
        assert_eq!(total.uncached_input_tokens(), 11);
    }
}
