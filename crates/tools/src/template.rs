//! Text with placeholders for arguments.

use std::mem;

use brigade_core::ToolSpec;
use serde_json::{Map, Value};

use crate::BuildToolError;

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
    /// Parses text. Braces around anything else than a name, such as those of JSON or of `awk '{print $1}'`, are ordinary
    /// text.
    pub fn parse(text: &str) -> Self {
        let (mut segments, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            literal.push_str(before);
            match after.split_once('}') {
                Some((name, after)) if is_name(name) => {
                    segments.push(Segment::Text(mem::take(&mut literal)));
                    segments.push(Segment::Placeholder(name.to_owned()));
                    rest = after;
                }
                _ => {
                    literal.push('{');
                    rest = after;
                }
            }
        }
        segments.push(Segment::Text(literal + rest));
        Self(segments)
    }

    /// The names of the placeholders, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Placeholder(name) => Some(name.as_str()),
            Segment::Text(_) => None,
        })
    }

    /// Fails if a placeholder is not an argument of the tool. Schemas that describe arguments elsewhere than in their
    /// `properties` are not searched.
    pub(crate) fn check(&self, spec: &ToolSpec) -> Result<(), BuildToolError> {
        const ELSEWHERE: [&str; 7] =
            ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "patternProperties", "dependentSchemas"];
        let schema: Value = serde_json::from_str(spec.input_schema.get()).unwrap_or_default();
        if ELSEWHERE.iter().any(|key| schema.get(key).is_some()) {
            return Ok(());
        }
        let arguments = schema.get("properties").and_then(Value::as_object);
        let unknown = self.names().find(|name| !arguments.is_some_and(|arguments| arguments.contains_key(*name)));
        unknown.map_or(Ok(()), |name| Err(BuildToolError::Placeholder(name.to_owned())))
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

/// Whether text is a name of an argument, perhaps with blanks around it, which are a mistake.
fn is_name(text: &str) -> bool {
    let name = text.trim();
    !name.is_empty() && name.chars().all(|char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.'))
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
        let names = |text| Template::parse(text).names().map(str::to_owned).collect::<Vec<_>>();
        for (text, expected) in [
            ("{print $1}", &[] as &[&str]),
            ("{}", &[]),
            (r#"{"city": "{city}"}"#, &["city"]),
            ("{{id}}", &["id"]),
            ("{ id }", &[" id "]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
        assert_eq!(
            Template::parse("{a b}{id").fill(&Map::new(), |_| Ok::<_, Infallible>(String::new())).unwrap(),
            "{a b}{id"
        );
        let starts = |text| Template::parse(text).starts_with_placeholder();
        assert!(starts("{a}b") && !starts("b{a}"));
    }
}
