//! Sizes and durations with units, and numbers that must not be zero.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use toml::Value;

/// A number of bytes, written as `512 KiB` or `4 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct ByteSize {
    /// The number.
    pub bytes: usize,
}

const UNITS: [(&str, usize); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is not a size; write one such as \"512 KiB\" or \"4 MiB\"");
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(invalid)?;
        let number: usize = text.trim_end_matches(unit).trim().parse().map_err(|_| invalid())?;
        Ok(Self { bytes: number.checked_mul(factor).ok_or_else(invalid)? })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => text.parse().map_err(de::Error::custom),
            _ => Err(de::Error::custom("expected a size such as \"512 KiB\" or \"4 MiB\"")),
        }
    }
}

/// A limit that must not be zero.
pub(super) fn positive<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialOrd>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = T::deserialize(deserializer)?;
    if number > T::default() { Ok(number) } else { Err(de::Error::custom("this must be greater than zero")) }
}

/// An optional limit that must not be zero.
pub(super) fn some_positive<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialOrd>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    positive(deserializer).map(Some)
}

/// The randomness of answers. No model accepts more than 2.
pub(super) fn some_temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    let temperature = f32::deserialize(deserializer)?;
    let is_valid = (0.0..=2.0).contains(&temperature);
    is_valid.then_some(Some(temperature)).ok_or_else(|| de::Error::custom("expected a number from 0 to 2"))
}

/// A share that leaves something for the rest.
pub(super) fn some_percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    (percent < 100).then_some(Some(percent)).ok_or_else(|| de::Error::custom("expected a number from 0 to 99"))
}

/// A size that must not be zero.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if size.bytes == 0 {
        return Err(de::Error::custom("this must be greater than zero, such as \"64 KiB\""));
    }
    Ok(size)
}

/// A duration that must not be zero.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    if duration.is_zero() {
        return Err(de::Error::custom("this must be greater than zero, such as \"30s\""));
    }
    Ok(duration)
}

/// An optional duration that must not be zero.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, factor): &(&str, usize)| self.bytes.is_multiple_of(*factor);
        let (unit, factor) = [UNITS[2], UNITS[1], UNITS[0]].into_iter().find(divides).unwrap_or(UNITS[3]);
        write!(f, "{} {unit}", self.bytes / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!("4 MiB".parse(), Ok(ByteSize { bytes: 4 << 20 }));
        assert_eq!("512KiB".parse::<ByteSize>().map(|size| size.to_string()), Ok("512 KiB".to_owned()));
        for text in ["4", "4 MB", "-1 B", "1.5 MiB", "99999999999999999999 GiB", "99999999999999 GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
