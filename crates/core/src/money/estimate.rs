//! The most that a model call may cost, estimated before it is made.

use crate::{Money, Rates};

/// What a model call may cost at the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// The most tokens that may be generated.
    pub output_tokens: u64,
    /// The fewest tokens that are worth the call: where the budget does not allow all of `output_tokens`, the
    /// reservation is cut down to as few as these before it is refused.
    pub least_output_tokens: u64,
    /// What tokens cost; absent for a model without a price.
    pub rates: Option<Rates>,
}

impl Estimate {
    /// What the call may cost; absent for a model without a price.
    pub fn cost(&self) -> Option<Money> {
        self.rates.map(|rates| rates.cost(self.input_tokens, self.output_tokens))
    }

    /// Input and output tokens together.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}
