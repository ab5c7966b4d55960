//! Sizes and times with units, and numbers that mean something.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written as `512 KiB` or `4 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub(crate) struct Size {
    pub(crate) bytes: usize,
}

const UNITS: [(&str, usize); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write one such as \"512 KiB\" or \"4 MiB\"");
        let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(wrong)?;
        let number: usize = text.trim_end_matches(unit).trim().parse().map_err(|_| wrong())?;
        Ok(Self { bytes: number.checked_mul(factor).ok_or_else(wrong)? })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SizeVisitor)
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"512 KiB\" or \"4 MiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(de::Error::custom)
    }
}

/// A number of which zero would switch off what it limits.
pub(super) fn positive<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialOrd>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = T::deserialize(deserializer)?;
    if number > T::default() { Ok(number) } else { Err(de::Error::custom("this must be more than nothing")) }
}

/// The same where it may be absent.
pub(super) fn some_positive<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default + PartialOrd>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    positive(deserializer).map(Some)
}

/// A time in which something can happen.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time: Duration = humantime_serde::deserialize(deserializer)?;
    if time.is_zero() { Err(de::Error::custom("this must be more than nothing, such as \"30s\"")) } else { Ok(time) }
}

/// The same where it may be absent.
pub(super) fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Size {
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
        assert_eq!("4 MiB".parse(), Ok(Size { bytes: 4 << 20 }));
        assert_eq!("512KiB".parse::<Size>().map(|size| size.to_string()), Ok("512 KiB".to_owned()));
        for text in ["4", "4 MB", "-1 B", "1.5 MiB", "99999999999999999999 GiB", "99999999999999 GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
