//! The amounts that a call takes from the limits.

use brigade_core::{ChatRequest, Settings, Usage};

use crate::{Charging, rate_limit::dimension::Quantity, rate_limit::token_estimator::TokenEstimator};

/// The amounts that a call takes from the limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Consumption {
    pub(crate) requests: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) total_tokens: u64,
}

/// The parts of a call that determine its consumption.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallSize<'a> {
    request: &'a ChatRequest,
    max_output_tokens: Option<u64>,
}

/// Estimates the consumption of a call before it is made.
#[derive(Debug)]
pub(crate) struct ConsumptionEstimator {
    tokens: TokenEstimator,
    /// The moving average of output tokens per reply.
    average_output: u64,
}

/// Output tokens of a reply before any was seen: a page of text.
const INITIAL_OUTPUT: u64 = 500;

impl Consumption {
    fn new(charging: Charging, input_tokens: u64, output_tokens: u64, max_output_tokens: Option<u64>) -> Self {
        let total_tokens = match charging {
            Charging::OpenAi => input_tokens.max(max_output_tokens.unwrap_or(0)),
            Charging::Anthropic | Charging::Used => input_tokens.saturating_add(output_tokens),
        };
        Self { requests: 1, input_tokens, output_tokens, total_tokens }
    }

    /// The amount of one quantity.
    pub(crate) fn of(&self, quantity: Quantity) -> u64 {
        match quantity {
            Quantity::Requests => self.requests,
            Quantity::InputTokens => self.input_tokens,
            Quantity::OutputTokens => self.output_tokens,
            Quantity::TotalTokens => self.total_tokens,
        }
    }

    /// The sum of two consumptions.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            total_tokens: self.total_tokens.saturating_add(other.total_tokens),
        }
    }
}

impl<'a> CallSize<'a> {
    /// The size of a call to a model with these settings.
    pub(crate) fn new(request: &'a ChatRequest, model: &Settings) -> Self {
        Self { request, max_output_tokens: request.settings.over(model).output_limit().map(u64::from) }
    }

    /// The consumption of the call according to its reported usage.
    pub(crate) fn consumption(&self, usage: &Usage, charging: Charging) -> Consumption {
        let uncounted = match charging {
            Charging::Anthropic => usage.cache_read_tokens.unwrap_or(0),
            Charging::OpenAi | Charging::Used => 0,
        };
        let input_tokens = usage.input_tokens.saturating_sub(uncounted);
        Consumption::new(charging, input_tokens, usage.output_tokens, self.max_output_tokens)
    }
}

impl ConsumptionEstimator {
    pub(crate) fn new() -> Self {
        Self { tokens: TokenEstimator::new(), average_output: INITIAL_OUTPUT }
    }

    /// The consumption that a call will probably have.
    pub(crate) fn estimate(&self, call: &CallSize<'_>, charging: Charging) -> Consumption {
        let output_tokens = self.average_output.min(call.max_output_tokens.unwrap_or(u64::MAX));
        Consumption::new(charging, self.tokens.input(call.request), output_tokens, call.max_output_tokens)
    }

    /// Learns from the actual consumption of a call.
    pub(crate) fn learn(&mut self, call: &CallSize<'_>, actual: &Consumption) {
        // Only the input that counts against the limits, so without cache reads where those are free.
        self.tokens.learn(call.request, actual.input_tokens);
        self.average_output = self.average_output.saturating_mul(7).saturating_add(actual.output_tokens) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::question;

    fn consumption(charging: Charging, max_output_tokens: Option<u64>) -> Consumption {
        let usage = Usage::new(1_000, 200).cache_read_tokens(Some(900)).cache_write_tokens(Some(50));
        CallSize { request: &question(), max_output_tokens }.consumption(&usage, charging)
    }

    #[test]
    fn each_provider_counts_tokens_in_its_own_way() {
        let counted = |input_tokens, output_tokens, total_tokens| Consumption {
            requests: 1,
            input_tokens,
            output_tokens,
            total_tokens,
        };
        assert_eq!(consumption(Charging::Used, Some(4_000)), counted(1_000, 200, 1_200));
        assert_eq!(consumption(Charging::OpenAi, Some(4_000)), counted(1_000, 200, 4_000));
        assert_eq!(consumption(Charging::OpenAi, Some(100)), counted(1_000, 200, 1_000));
        assert_eq!(consumption(Charging::OpenAi, None), counted(1_000, 200, 1_000));
        assert_eq!(consumption(Charging::Anthropic, Some(4_000)), counted(100, 200, 300));
    }
}
