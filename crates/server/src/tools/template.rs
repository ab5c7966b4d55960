//! Texts with places for arguments.

use serde_json::{Map, Value};

/// A text with places for arguments: `https://example.com/users/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(String),
}

impl Template {
    /// Reads a text. Braces that are not closed stand for themselves.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Place(name.to_owned()));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self(pieces)
    }

    /// The names of its places.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Whether it begins with a place.
    pub(crate) fn begins_with_place(&self) -> bool {
        self.0
            .iter()
            .find(|piece| **piece != Piece::Text(String::new()))
            .is_some_and(|piece| matches!(piece, Piece::Place(_)))
    }

    /// The text up to the first place.
    pub(crate) fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// The text with its places filled, each by `write`. An argument that is not there fills nothing.
    pub(crate) fn fill<E>(
        &self,
        arguments: &Map<String, Value>,
        write: impl Fn(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Place(name) => text.push_str(&write(&plain(arguments.get(name)))?),
            }
        }
        Ok(text)
    }
}

/// A value as one would write it by hand.
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
    fn places_are_filled_and_other_braces_stay() {
        let template = Template::parse("/users/{id}?q={query}&x={");
        assert_eq!(template.names().collect::<Vec<_>>(), ["id", "query"]);
        let arguments = json!({ "id": 7, "query": "a" });
        let filled = template.fill(arguments.as_object().unwrap(), |value| Ok::<_, Infallible>(value.to_uppercase()));
        assert_eq!(filled.unwrap(), "/users/7?q=A&x={");
        assert!(Template::parse("{a}b").begins_with_place() && !Template::parse("b{a}").begins_with_place());
    }
}
