//! Names of tools, written with `*`.

use serde::Deserialize;

/// A list of tool names. A `*` stands for any text: `search_*`.
///
/// ```
/// use brigade_mcp::NamePatterns;
///
/// let names = NamePatterns::new(["get_issue", "search_*"]);
/// assert!(names.matches("search_code") && names.matches("get_issue"));
/// assert!(!names.matches("get_issues"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct NamePatterns(Vec<String>);

impl NamePatterns {
    /// A list of names and patterns.
    pub fn new<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    /// Whether one of the patterns matches this name.
    pub fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| is_match(pattern, name))
    }

    /// The patterns as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there is no pattern, so that no name matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns that match none of these names.
    pub fn without_match<'p>(&'p self, names: &[&str]) -> Vec<&'p str> {
        self.iter().filter(|pattern| !names.iter().any(|name| is_match(pattern, name))).collect()
    }
}

/// The text between the stars must occur in this order, the first part at the start and the last part at the end.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let cases = [
            ("*", "", true),
            ("*", "anything", true),
            ("get_*", "get_", true),
            ("get_*", "forget_it", false),
            ("*_issue", "get_issue", true),
            ("*_issue", "get_issues", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("**", "x", true),
            ("Get", "get", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_without_a_match_are_found() {
        let patterns = NamePatterns::new(["get_*", "drop_*", "list"]);
        assert_eq!(patterns.without_match(&["get_it", "lists"]), ["drop_*", "list"]);
    }
}
