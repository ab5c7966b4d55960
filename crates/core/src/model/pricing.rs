//! What model calls cost, as far as the ledger must know.

use std::fmt;

use crate::{ModelId, Money, Rates, Settings, Usage};

/// Knows what models cost.
pub trait Pricing: fmt::Debug + Send + Sync + 'static {
    /// The most that a call may cost: the dearest rates that can apply to a prompt of `input_tokens` asked with
    /// `settings`. Absent if the model has no price.
    fn ceiling(&self, model: &ModelId, settings: &Settings, input_tokens: u64) -> Option<PriceCeiling>;

    /// What a call cost, at the price of the model and the service tier that really answered. Absent if it has no price.
    fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money>;
}

/// The dearest rates that can apply to one call, and the model's own limit of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceCeiling {
    /// The rates.
    pub rates: Rates,
    /// The most tokens that the model can generate, if known.
    pub max_output_tokens: Option<u32>,
}

/// Who served a call, and how: what its price depends on besides its tokens.
#[derive(Debug, Clone, Copy)]
pub struct ServedCall<'a> {
    /// The model as configured.
    pub asked: &'a ModelId,
    /// The model that answered, as the provider names it; absent if it did not say.
    pub model: Option<&'a str>,
    /// The service tier, where the provider told it.
    pub service_tier: Option<&'a str>,
}

/// The largest run that a configuration allows, for a look at its cost before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestRun {
    /// Calls to the model: the limit of turns, times the attempts of each if every one may be billed.
    pub calls: u64,
    /// The most prompt tokens of one call: the limit that the conversation is trimmed to, or the context window.
    pub input_tokens: u64,
    /// The most generated tokens of one call; absent means the model's own limit.
    pub output_tokens: Option<u64>,
}

impl LargestRun {
    /// What the run costs if every call is as large as it can be, at the dearest rates. Absent if the model has no
    /// price, or if nothing limits the length of its answers.
    pub fn cost(&self, model: &ModelId, settings: &Settings, pricing: &dyn Pricing) -> Option<Money> {
        let ceiling = pricing.ceiling(model, settings, self.input_tokens)?;
        let own_limit = ceiling.max_output_tokens.map(u64::from);
        let output_tokens = match (self.output_tokens, own_limit) {
            (Some(asked), Some(own)) => asked.min(own),
            (asked, own) => asked.or(own)?,
        };
        Some(ceiling.rates.cost(self.input_tokens, output_tokens).times(self.calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    fn rate(usd_per_million: &str) -> Rate {
        Rate::per_million(usd_per_million.parse().unwrap())
    }

    #[derive(Debug)]
    struct OneDollar;

    impl Pricing for OneDollar {
        fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
            let rates = Rates { input: rate("1"), output: rate("1"), call: Money::ZERO };
            Some(PriceCeiling { rates, max_output_tokens: Some(1_000) })
        }

        fn cost(&self, _: &ServedCall<'_>, _: &Usage) -> Option<Money> {
            None
        }
    }

    #[test]
    fn the_largest_run_costs_all_calls_at_their_largest() {
        let run = LargestRun { calls: 25, input_tokens: 9_000, output_tokens: None };
        let cost = |run: LargestRun| run.cost(&ModelId::new("a", "b"), &Settings::default(), &OneDollar);
        assert_eq!(cost(run), Some("0.25".parse().unwrap()));
        assert_eq!(cost(LargestRun { output_tokens: Some(64_000), ..run }), Some("0.25".parse().unwrap()));
        assert_eq!(cost(LargestRun { output_tokens: Some(0), ..run }), Some("0.225".parse().unwrap()));
    }
}
