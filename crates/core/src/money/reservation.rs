//! What a call reserves.

use crate::{Estimate, Money};

/// An estimate on its way up the tree of accounts, with its cost worked out once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reservation {
    pub(crate) estimate: Estimate,
    pub(crate) cost: Money,
}

impl Reservation {
    pub(crate) fn new(estimate: Estimate) -> Self {
        Self { estimate, cost: estimate.cost().unwrap_or_default() }
    }

    pub(crate) fn cut_to_money(&mut self, nano: u64) {
        let Some(rates) = self.estimate.rates else { return };
        let money = Money::from_nano(i64::try_from(nano).unwrap_or(i64::MAX));
        self.cut_to(rates.output.tokens_for(money - rates.cost(self.estimate.input_tokens, 0)));
    }

    pub(crate) fn cut_to_tokens(&mut self, tokens: u64) {
        self.cut_to(tokens.saturating_sub(self.estimate.input_tokens));
    }

    fn cut_to(&mut self, output_tokens: u64) {
        let enough = output_tokens.max(self.estimate.least_output_tokens);
        self.estimate.output_tokens = self.estimate.output_tokens.min(enough);
        *self = Self::new(self.estimate);
    }
}
