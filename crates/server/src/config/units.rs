//! Sizes with units.

use std::{fmt, str::FromStr};

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
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
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
