//! Text with placeholders for arguments.

use serde_json::{Map, Value};

/// Text with placeholders for arguments, such as `https://example.com/users/{id}`.
///
/// ```
/// use brigade_tools::Template;
/// use serde_json::json;
///
/// let template = Template::parse("/users/{id}");
/// assert_eq!(template.names().collect::<Vec<_>>(), ["id"]);
/// let arguments = json!({ "id": 7 });
/// let text = template.fill(arguments.as_object().unwrap(), |value| Ok::<_, String>(value.to_owned()));
/// assert_eq!(text, Ok("/users/7".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    Placeholder(String),
}

impl Template {
    /// Parses text. A brace that is not closed is ordinary text.
    pub fn parse(text: &str) -> Self {
        let (mut segments, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            segments.push(Segment::Text(before.to_owned()));
            segments.push(Segment::Placeholder(name.to_owned()));
            rest = after;
        }
        segments.push(Segment::Text(rest.to_owned()));
        Self(segments)
    }

    /// The names of the placeholders, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Placeholder(name) => Some(name.as_str()),
            Segment::Text(_) => None,
        })
    }

    /// True if the first character comes from an argument.
    pub fn starts_with_placeholder(&self) -> bool {
        let first = self.0.iter().find(|segment| **segment != Segment::Text(String::new()));
        matches!(first, Some(Segment::Placeholder(_)))
    }

    /// The text before the first placeholder.
    pub fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Segment::Text(text)) => text,
            Some(Segment::Placeholder(_)) | None => "",
        }
    }

    /// Replaces each placeholder by its argument, passed through `encode`. A missing argument is an empty string.
    ///
    /// # Errors
    ///
    /// Returns the first error of `encode`.
    pub fn fill<E>(
        &self,
        arguments: &Map<String, Value>,
        encode: impl Fn(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Text(segment) => text.push_str(segment),
                Segment::Placeholder(name) => text.push_str(&encode(&plain(arguments.get(name)))?),
            }
        }
        Ok(text)
    }
}

/// A string without its quotes; any other value as JSON.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let template = Template::parse("/users/{id}?q={query}&x={");
        assert_eq!(template.names().collect::<Vec<_>>(), ["id", "query"]);
        let arguments = json!({ "id": 7, "query": "a" });
        let filled = template.fill(arguments.as_object().unwrap(), |value| Ok::<_, Infallible>(value.to_uppercase()));
        assert_eq!(filled.unwrap(), "/users/7?q=A&x={");
        let starts = |text| Template::parse(text).starts_with_placeholder();
        assert!(starts("{a}b") && !starts("b{a}"));
    }
}
