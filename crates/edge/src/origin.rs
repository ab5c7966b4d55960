//! Web pages that may send requests.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The origin of a web page, such as `https://app.example`, or `*` for all. It is parsed from text.
///
/// ```
/// use brigade_edge::Origin;
///
/// let origin: Origin = "https://app.example".parse()?;
/// assert!(origin.matches(b"https://app.example"));
/// assert!("app.example".parse::<Origin>().is_err());
/// # Ok::<(), brigade_edge::ParseOriginError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Origin(String);

/// The text is not an origin of web pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an origin of web pages; write one such as \"https://app.example\" or \"http://localhost:3000\", without \
     a path, or \"*\" for all"
)]
pub struct ParseOriginError {
    text: String,
}

impl Origin {
    /// Whether this stands for all origins.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether the value of a browser's `origin` header is this origin. Upper and lower case are equal.
    pub fn matches(&self, origin: &[u8]) -> bool {
        self.is_any() || self.0.as_bytes().eq_ignore_ascii_case(origin)
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '*', '@', ' ']);
        if text == "*" || is_host {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseOriginError { text: text.to_owned() })
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        for text in ["https://app.example", "http://localhost:3000", "http://[::1]:8080", "*"] {
            assert!(text.parse::<Origin>().is_ok(), "{text}");
        }
        let refused = [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://a/b",
            "https://*.example",
            "null",
            "ftp://x",
        ];
        for text in refused {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        let origin: Origin = "https://App.example".parse().unwrap();
        assert!(origin.matches(b"https://app.example") && !origin.matches(b"https://app.example.evil"));
    }
}
