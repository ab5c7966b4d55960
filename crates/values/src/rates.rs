//! Prices per million tokens.

use serde::{Deserialize, Deserializer, de};

use crate::Money;

const TOKENS_PER_RATE: i128 = 1_000_000;

/// The prices of a model call, without a distinction between cached and uncached input.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// The price of prompt tokens.
    pub input: Rate,
    /// The price of generated tokens.
    pub output: Rate,
    /// The price of the call itself, in addition to its tokens.
    pub call: Money,
}

/// A price per million tokens.
#[must_use]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(Money);

impl Rate {
    /// A rate of `price` per million tokens. A negative price counts as zero.
    pub const fn per_million(price: Money) -> Self {
        Self(if price.nano() < 0 { Money::ZERO } else { price })
    }

    /// The price of `tokens` tokens, rounded up to the next nano-dollar.
    pub fn of(self, tokens: u64) -> Money {
        Self::total([(self, tokens)])
    }

    /// The price of tokens at several rates. The exact sum is rounded up once, because some tokens cost a fraction of a
    /// nano-dollar: a cached token of `deepseek-chat` costs 2.8.
    pub fn total(parts: impl IntoIterator<Item = (Self, u64)>) -> Money {
        let exact = |(rate, tokens): (Self, u64)| i128::from(rate.0.nano()) * i128::from(tokens);
        let sum = parts.into_iter().map(exact).fold(0, i128::saturating_add);
        Money::from_nano(i64::try_from(sum.saturating_add(TOKENS_PER_RATE - 1) / TOKENS_PER_RATE).unwrap_or(i64::MAX))
    }

    /// This rate multiplied by `part / whole`, rounded up. Unchanged if `whole` is zero.
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
            return Err(de::Error::custom("a price must not be negative"));
        }
        Ok(Self(price))
    }
}

impl Rates {
    /// Prices of input and output tokens, without a price for the call itself.
    pub const fn new(input: Rate, output: Rate) -> Self {
        Self { input, output, call: Money::ZERO }
    }

    /// Sets the price of the call itself.
    pub const fn call(self, price: Money) -> Self {
        Self { call: price, ..self }
    }

    /// The cost of a call with this many tokens.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> Money {
        self.call + Rate::total([(self.input, input_tokens), (self.output, output_tokens)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(usd_per_million: &str) -> Rate {
        Rate::per_million(usd_per_million.parse().unwrap())
    }

    #[test]
    fn fractions_of_a_nano_dollar_are_exact_and_the_sum_is_rounded_up_once() {
        assert_eq!(rate("0.0028").of(10), Money::from_nano(28));
        assert_eq!(rate("0.0028").of(1), Money::from_nano(3));
        assert_eq!(Rate::total([(rate("0.0028"), 1), (rate("0.0028"), 1)]), Money::from_nano(6));
        assert_eq!(Rate::total([(rate("0.0028"), 1), (rate("0.0002"), 1)]), Money::from_nano(3));
    }

    #[test]
    fn an_amount_buys_as_many_tokens_as_it_pays_for_and_not_one_more() {
        let (price, money) = (rate("0.7"), Money::from_nano(999));
        let bought = price.tokens_for(money);
        assert!(price.of(bought) <= money && price.of(bought + 1) > money);
        assert_eq!(Rate::default().tokens_for(money), u64::MAX);
        assert_eq!(price.tokens_for(Money::from_nano(-5)), 0);
    }

    #[test]
    fn amounts_out_of_range_saturate() {
        assert_eq!(Rate::total([(Rate(Money::MAX), u64::MAX), (Rate(Money::MAX), u64::MAX)]), Money::MAX);
    }
}
