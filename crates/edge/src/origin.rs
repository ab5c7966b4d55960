//! Web pages that may send requests.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The origin of a web page, such as `https://app.example`, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub(crate) struct Origin(String);

impl Origin {
    /// Whether this stands for all origins.
    pub(crate) fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether a browser's `Origin` header is meant by this.
    pub(crate) fn matches(&self, origin: &[u8]) -> bool {
        self.is_any() || self.0.as_bytes().eq_ignore_ascii_case(origin)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '*', '@', ' ']);
        if text == "*" || is_host {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{text}` is not an origin of web pages; write one such as \"https://app.example\" or \
             \"http://localhost:3000\", without a path, or \"*\" for all"
        ))
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
