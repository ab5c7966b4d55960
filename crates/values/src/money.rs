//! Money as an integer number of nano-US-dollars.

use std::{fmt, ops, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ParseError;

const NANO_PER_USD: i64 = 1_000_000_000;

/// An amount of money in nano-US-dollars (10⁻⁹ USD).
///
/// This is fine enough for the cost of a call; prices of single tokens, which can be finer, are [`Rate`](crate::Rate)s.
/// Arithmetic saturates: a sum that left the range would otherwise wrap into a negative, spendable amount.
#[must_use]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// The largest amount, about nine billion US dollars.
    pub const MAX: Self = Self(i64::MAX);

    /// A number of US dollars.
    pub const fn from_dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(NANO_PER_USD))
    }

    /// A number of US cents.
    pub const fn from_cents(cents: i64) -> Self {
        Self(cents.saturating_mul(NANO_PER_USD / 100))
    }

    /// A number of nano-US-dollars.
    pub const fn from_nano(nano: i64) -> Self {
        Self(nano)
    }

    /// This amount in nano-US-dollars.
    pub const fn nano(self) -> i64 {
        self.0
    }

    /// This amount in US dollars, rounded, for display and metrics only.
    #[expect(clippy::cast_precision_loss, reason = "the caller wants a float; exact sums stay in nano-dollars")]
    pub fn as_usd_lossy(self) -> f64 {
        self.0 as f64 / NANO_PER_USD as f64
    }

    /// The larger of this amount and zero.
    pub fn or_zero(self) -> Self {
        self.max(Self::ZERO)
    }

    /// `count` times this amount.
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// All significant digits: `0.031250001`.
    fn exact(self) -> String {
        let (whole, fraction) = (self.0.unsigned_abs() / 1_000_000_000, self.0.unsigned_abs() % 1_000_000_000);
        let digits = format!("{fraction:09}");
        let sign = if self.0 < 0 { "-" } else { "" };
        match digits.trim_end_matches('0') {
            "" => format!("{sign}{whole}"),
            kept => format!("{sign}{whole}.{kept}"),
        }
    }
}

impl ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl ops::Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl ops::AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl FromStr for Money {
    type Err = ParseError;

    /// Parses a decimal number such as `0.50`, `$3` or `-0.000000001`, exactly.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_nano(text).map(Self).ok_or_else(|| {
            ParseError::new(format!(
                "`{text}` is not a dollar amount; write it like \"0.50\", with at most nine decimals"
            ))
        })
    }
}

fn parse_nano(text: &str) -> Option<i64> {
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let digits = digits.strip_prefix('$').unwrap_or(digits);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let only_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !only_digits(whole) || !only_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nano: i64 = format!("{fraction:0<9}").parse().ok()?;
    let total = whole.parse::<i64>().ok()?.checked_mul(NANO_PER_USD)?.checked_add(nano)?;
    Some(if negative { -total } else { total })
}

impl fmt::Display for Money {
    /// `$0.0312`; six decimals below a tenth of a cent, so that a small call does not look free.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: u32 = if self.0 != 0 && self.0.unsigned_abs() < 1_000_000 { 6 } else { 4 };
        let unit = 10_u64.pow(9 - places);
        let rounded = self.0.unsigned_abs().saturating_add(unit / 2) / unit;
        let scale = 10_u64.pow(places);
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}${}.{:0width$}", rounded / scale, rounded % scale, width = places as usize)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.exact())
    }
}

impl Serialize for Money {
    /// A decimal string in US dollars: JSON numbers are read as floats by many clients.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.exact())
    }
}

impl JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "US dollars as a decimal.",
            "pattern": r"^-?[0-9]+(\.[0-9]+)?$"
        })
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(MoneyVisitor)
    }
}

/// Explains to users who write a number that an amount is written in quotes.
struct MoneyVisitor;

impl de::Visitor<'_> for MoneyVisitor {
    type Value = Money;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of US dollars in quotes, such as \"0.50\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Money, E> {
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_parsed_exactly() {
        assert_eq!("0.50".parse(), Ok(Money::from_nano(500_000_000)));
        assert_eq!("$3".parse(), Ok(Money::from_nano(3_000_000_000)));
        assert_eq!("-0.000000001".parse(), Ok(Money::from_nano(-1)));
        assert_eq!("9223372036.854775807".parse(), Ok(Money::MAX));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ".", "1.", ".5", "1e3", "0.0000000001", "9223372036.854775808", "1,5", "NaN", "--1"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    #[test]
    fn display_rounds_and_never_hides_a_small_amount() {
        assert_eq!(Money::from_nano(31_249_999).to_string(), "$0.0312");
        assert_eq!(Money::from_nano(42_000).to_string(), "$0.000042");
        assert_eq!(Money::from_nano(-1_500_000_000).to_string(), "-$1.5000");
        assert_eq!(Money::ZERO.to_string(), "$0.0000");
    }

    #[test]
    fn json_is_a_decimal_string() {
        let amount = Money::from_nano(31_250_001);
        let json = serde_json::to_string(&amount).unwrap();
        assert_eq!(json, "\"0.031250001\"");
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), amount);
    }

    #[test]
    fn dollars_and_cents_are_exact() {
        assert_eq!(Money::from_dollars(3) + Money::from_cents(50), Money::from_nano(3_500_000_000));
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Money::MAX + Money::from_nano(1), Money::MAX);
        assert_eq!(Money::from_nano(2).times(u64::MAX), Money::MAX);
    }
}
