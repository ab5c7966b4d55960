//! What model calls cost, as far as the ledger must know.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::{ModelId, Money, Settings, Usage};

/// Knows what models cost.
pub trait Pricing: fmt::Debug + Send + Sync + 'static {
    /// The most that a call may cost: the dearest rates that can apply to a prompt of `input_tokens` asked with
    /// `settings`. Absent if the model has no price.
    fn ceiling(&self, model: &ModelId, settings: &Settings, input_tokens: u64) -> Option<Ceiling>;

    /// What a call cost, at the price of the model and the service tier that really answered. Absent if it has no price.
    fn cost(&self, served: &Served<'_>, usage: &Usage) -> Option<Money>;
}

/// The dearest rates that can apply to one call, and the model's own limit of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// The rates.
    pub rates: Rates,
    /// The most tokens that the model can generate, if known.
    pub max_output_tokens: Option<u32>,
}

/// What a call costs, when it is not told apart where the prompt's tokens come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Prompt tokens.
    pub input: Rate,
    /// Generated tokens.
    pub output: Rate,
    /// The call itself, whatever its tokens.
    pub call: Money,
}

/// A price per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(Money);

/// Who served a call, and how: what its price depends on besides its tokens.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
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

impl Rate {
    /// What a million tokens cost. A price below zero is none.
    pub const fn per_million(price: Money) -> Self {
        Self(if price.nano() < 0 { Money::ZERO } else { price })
    }

    /// The price of so many tokens, rounded up to the next nano-dollar.
    pub fn of(self, tokens: u64) -> Money {
        Self::total([(self, tokens)])
    }

    /// The price of tokens at several rates. The sum is exact and rounded up once: vendors sell fractions of a
    /// nano-dollar (a cached token of `deepseek-chat` costs 2.8).
    pub fn total(parts: impl IntoIterator<Item = (Self, u64)>) -> Money {
        let exact = |(rate, tokens): (Self, u64)| i128::from(rate.0.nano()) * i128::from(tokens);
        let sum = parts.into_iter().map(exact).fold(0, i128::saturating_add);
        Money::from_nano(i64::try_from(sum.saturating_add(TOKENS_PER_RATE - 1) / TOKENS_PER_RATE).unwrap_or(i64::MAX))
    }

    /// This rate as many times as `part` is of `whole`, rounded up.
    #[must_use]
    pub fn scaled(self, part: Self, whole: Self) -> Self {
        let exact = i128::from(self.0.nano()) * i128::from(part.0.nano()) + i128::from(whole.0.nano()) - 1;
        exact
            .checked_div(i128::from(whole.0.nano()))
            .map_or(self, |nano| Self(Money::from_nano(i64::try_from(nano).unwrap_or(i64::MAX))))
    }

    /// How many tokens `money` buys.
    pub fn tokens_for(self, money: Money) -> u64 {
        let rate = i128::from(self.0.nano());
        let exact = i128::from(money.or_zero().nano()) * TOKENS_PER_RATE;
        exact.checked_div(rate).map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

impl<'de> Deserialize<'de> for Rate {
    /// A decimal string in US dollars per million tokens.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let price = Money::deserialize(deserializer)?;
        if price < Money::ZERO {
            return Err(de::Error::custom("a price is not below zero"));
        }
        Ok(Self(price))
    }
}

const TOKENS_PER_RATE: i128 = 1_000_000;

impl Rates {
    /// What a call of so many tokens costs.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> Money {
        self.call + Rate::total([(self.input, input_tokens), (self.output, output_tokens)])
    }
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

    fn rate(usd_per_million: &str) -> Rate {
        Rate::per_million(usd_per_million.parse().unwrap())
    }

    #[test]
    fn a_rate_below_a_nano_dollar_a_token_is_exact_and_the_sum_is_rounded_up_once() {
        assert_eq!(rate("0.0028").of(10), Money::from_nano(28));
        assert_eq!(rate("0.0028").of(1), Money::from_nano(3));
        assert_eq!(Rate::total([(rate("0.0028"), 1), (rate("0.0028"), 1)]), Money::from_nano(6));
        assert_eq!(Rate::total([(rate("0.0028"), 1), (rate("0.0002"), 1)]), Money::from_nano(3));
    }

    #[test]
    fn what_money_buys_never_costs_more_than_it() {
        let (price, money) = (rate("0.7"), Money::from_nano(999));
        let bought = price.tokens_for(money);
        assert!(price.of(bought) <= money && price.of(bought + 1) > money);
        assert_eq!(Rate::default().tokens_for(money), u64::MAX);
        assert_eq!(price.tokens_for(Money::from_nano(-5)), 0);
    }

    #[test]
    fn absurd_amounts_saturate() {
        assert_eq!(Rate::total([(Rate(Money::MAX), u64::MAX), (Rate(Money::MAX), u64::MAX)]), Money::MAX);
    }

    #[derive(Debug)]
    struct OneDollar;

    impl Pricing for OneDollar {
        fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<Ceiling> {
            let rates = Rates { input: rate("1"), output: rate("1"), call: Money::ZERO };
            Some(Ceiling { rates, max_output_tokens: Some(1_000) })
        }

        fn cost(&self, _: &Served<'_>, _: &Usage) -> Option<Money> {
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
