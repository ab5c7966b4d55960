//! The largest cost of a model call, estimated before it is made.

use crate::{Money, Rates};

/// What a model call may use and cost at most.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Estimate {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// The most tokens that may be generated.
    pub output_tokens: u64,
    /// The fewest output tokens that make the call worthwhile. If the budget does not cover `output_tokens`, the ledger
    /// reserves less, but refuses the call rather than go below this.
    pub least_output_tokens: u64,
    /// The model's prices; absent for a model without a price.
    pub rates: Option<Rates>,
}

impl Estimate {
    /// An estimate of a call that is worthwhile with any number of output tokens, without a price.
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, ..Self::default() }
    }

    /// Sets the fewest output tokens that make the call worthwhile.
    pub fn least_output_tokens(self, tokens: u64) -> Self {
        Self { least_output_tokens: tokens, ..self }
    }

    /// Sets the model's prices.
    pub fn rates(self, rates: Rates) -> Self {
        Self { rates: Some(rates), ..self }
    }

    /// The largest cost; absent for a model without a price.
    pub fn cost(&self) -> Option<Money> {
        self.rates.map(|rates| rates.cost(self.input_tokens, self.output_tokens))
    }

    /// Input and output tokens together.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Reduces the output so that the call costs at most `money`, but not below the least worthwhile output.
    pub(crate) fn fit_money(&mut self, money: Money) {
        if let Some(rates) = self.rates {
            self.limit_output(rates.output.tokens_for(money - rates.cost(self.input_tokens, 0)));
        }
    }

    /// Reduces the output so that the call uses at most `tokens`, but not below the least worthwhile output.
    pub(crate) fn fit_tokens(&mut self, tokens: u64) {
        self.limit_output(tokens.saturating_sub(self.input_tokens));
    }

    fn limit_output(&mut self, most: u64) {
        self.output_tokens = self.output_tokens.min(most.max(self.least_output_tokens));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rate, testing::fixtures::usd};

    /// One dollar for a million input tokens, ten for a million output tokens.
    const RATES: Rates =
        Rates::new(Rate::per_million(Money::from_dollars(1)), Rate::per_million(Money::from_dollars(10)));

    #[test]
    fn the_setters_keep_the_tokens_and_each_other() {
        let expected = Estimate { input_tokens: 2_000, output_tokens: 500, least_output_tokens: 9, rates: Some(RATES) };
        assert_eq!(Estimate::new(2_000, 500).least_output_tokens(9).rates(RATES), expected);
        assert_eq!(Estimate::new(2_000, 500).rates(RATES).least_output_tokens(9), expected);
    }

    #[test]
    fn an_estimate_costs_its_prompt_and_its_output_if_it_has_a_price() {
        let estimate = Estimate::new(2_000, 500);
        assert_eq!((estimate.cost(), estimate.tokens()), (None, 2_500));
        assert_eq!(estimate.rates(RATES).cost(), Some(usd("0.007")));
    }

    #[test]
    fn the_output_shrinks_to_the_limit_but_not_below_the_least_and_never_grows() {
        let estimate = Estimate::new(2_000, 500).least_output_tokens(100).rates(RATES);
        for (money, output) in [("0.0069", 490), ("0.007", 500), ("1", 500), ("0.0021", 100), ("0", 100)] {
            let mut fitted = estimate;
            fitted.fit_money(usd(money));
            assert_eq!(fitted, Estimate { output_tokens: output, ..estimate }, "{money}");
        }
        for (tokens, output) in [(2_499, 499), (2_500, 500), (9_000, 500), (2_050, 100), (0, 100)] {
            let mut fitted = estimate;
            fitted.fit_tokens(tokens);
            assert_eq!(fitted, Estimate { output_tokens: output, ..estimate }, "{tokens}");
        }
        let mut unpriced = Estimate::new(2_000, 500);
        unpriced.fit_money(Money::ZERO);
        assert_eq!(unpriced.output_tokens, 500, "nothing is known about its cost");
    }
}
