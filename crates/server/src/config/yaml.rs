//! YAML, read into the tree that TOML is read into, so that there is one reader of configurations behind both.
//!
//! What is taken is what both can say: one document of mappings, lists and scalars, which are typed as the core schema of
//! YAML 1.2 types them (<https://yaml.org/spec/1.2.2/#103-core-schema>). Anchors, aliases and tags are refused: a
//! configuration says things once, and says no types.

use std::{borrow::Cow, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Problem;

/// So deep may it be nested, as in TOML's own reader. A configuration needs seven levels.
const DEEPEST: usize = 80;

/// Reads a document; one that says nothing is an empty table.
pub(super) fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Problem> {
    let bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    Reader { text, events: Parser::new_from_str(text), bytes }.document()
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// The byte at which each character begins, because the parser counts characters.
    bytes: Vec<usize>,
}

type Node<'t> = (Event<'t>, Range<usize>);

impl<'t> Reader<'t> {
    fn document(mut self) -> Result<Spanned<DeTable<'t>>, Problem> {
        let (mut root, mut documents) = (Spanned::new(0..0, DeTable::new()), 0);
        loop {
            match self.next()? {
                (Event::DocumentStart(_), place) if documents > 0 => {
                    return Err(Problem::at(place, "a configuration is one document; take the second one out"));
                }
                (Event::DocumentStart(_), _) => {
                    documents += 1;
                    let node = self.next()?;
                    root = self.root(node)?;
                }
                (Event::StreamEnd, _) => return Ok(root),
                _ => {}
            }
        }
    }

    fn root(&mut self, node: Node<'t>) -> Result<Spanned<DeTable<'t>>, Problem> {
        let value = match node {
            (Event::Scalar(text, ScalarStyle::Plain, ..), place) if is_null(&text) => {
                return Ok(Spanned::new(place, DeTable::new()));
            }
            node => self.value(node, 0)?,
        };
        let place = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Spanned::new(place, table)),
            _ => Err(Problem::at(place, "a configuration is a mapping, such as `server:` with keys below it")),
        }
    }

    fn value(&mut self, (event, place): Node<'t>, depth: usize) -> Result<Spanned<DeValue<'t>>, Problem> {
        if depth > DEEPEST {
            return Err(Problem::at(place, format!("this is nested deeper than {DEEPEST} levels")));
        }
        let value = match event {
            Event::Scalar(.., 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _)
            | Event::Alias(_) => {
                return Err(Problem::at(
                    place,
                    "anchors and aliases are not read here; write it out where it is meant",
                ));
            }
            Event::Scalar(.., Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return Err(Problem::at(place, "tags are not read here; take the `!` and the word behind it out"));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => self.plain(text, &place)?,
            Event::Scalar(text, ..) => DeValue::String(text),
            Event::SequenceStart(..) => return self.list(place, depth),
            Event::MappingStart(..) => return self.table(place, depth),
            _ => return Err(Problem::at(place, "something is missing here")),
        };
        Ok(Spanned::new(place, value))
    }

    /// A scalar without quotes: a truth value, a number, or else a text.
    fn plain(&self, text: Cow<'t, str>, place: &Range<usize>) -> Result<DeValue<'t>, Problem> {
        match &*text {
            "true" | "True" | "TRUE" => Ok(DeValue::Boolean(true)),
            "false" | "False" | "FALSE" => Ok(DeValue::Boolean(false)),
            _ if is_null(&text) => Err(Problem::at(place.clone(), "a value is missing here")),
            _ if is_number(&text) => {
                // The tree knows numbers in TOML's spelling only; `007` and `.5` are none there.
                let written = self.text.get(place.clone()).unwrap_or_default();
                let wrong = |_| Problem::at(place.clone(), format!("write the number `{text}` as 7, -1, 0.5 or 0xff"));
                DeValue::parse(written).map(Spanned::into_inner).map_err(wrong)
            }
            _ => Ok(DeValue::String(text)),
        }
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Result<Spanned<DeValue<'t>>, Problem> {
        let mut list = toml::de::DeArray::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => return Ok(Spanned::new(start.start..end.end, DeValue::Array(list))),
                node => list.push(self.value(node, depth + 1)?),
            }
        }
    }

    fn table(&mut self, start: Range<usize>, depth: usize) -> Result<Spanned<DeValue<'t>>, Problem> {
        let mut table = DeTable::new();
        loop {
            let (key, place) = match self.next()? {
                (Event::MappingEnd, end) => return Ok(Spanned::new(start.start..end.end, DeValue::Table(table))),
                (Event::Scalar(key, _, 0, None), place) => (key, place),
                (_, place) => return Err(Problem::at(place, "a key is a plain word or a text in quotes")),
            };
            let node = self.next()?;
            if let (Event::Scalar(text, ScalarStyle::Plain, 0, None), _) = &node
                && is_null(text)
            {
                let message = format!("`{key}` has no value; write `{{}}` for a section with nothing in it");
                return Err(Problem::at(place, message));
            }
            let value = self.value(node, depth + 1)?;
            if table.contains_key(&*key) {
                return Err(Problem::at(place, format!("`{key}` is here twice")));
            }
            table.insert(Spanned::new(place, key), value);
        }
    }

    fn next(&mut self) -> Result<Node<'t>, Problem> {
        match self.events.next_event() {
            Some(Ok((event, Span { start, end }))) => Ok((event, self.byte(start.index())..self.byte(end.index()))),
            Some(Err(error)) => Err(self.broken(&error)),
            None => Ok((Event::StreamEnd, self.text.len()..self.text.len())),
        }
    }

    fn broken(&self, error: &ScanError) -> Problem {
        let byte = self.byte(error.marker().index());
        Problem::at(byte..byte, error.info())
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether a scalar without quotes is a number.
fn is_number(text: &str) -> bool {
    let of_radix =
        |prefix, radix| text.strip_prefix(prefix).is_some_and(|digits| i64::from_str_radix(digits, radix).is_ok());
    // Rust also reads `inf` and `nan`, which are texts here.
    let has_digits = text.contains(|char: char| char.is_ascii_digit());
    of_radix("0x", 16) || of_radix("0o", 8) || (has_digits && text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use toml::{Table, de::Deserializer};

    use super::*;

    fn read(text: &str) -> Table {
        Table::deserialize(Deserializer::from(parse(text).unwrap())).unwrap()
    }

    /// What is wrong, and the text at which it is.
    fn wrong(text: &str) -> (String, &str) {
        let problem = parse(text).unwrap_err();
        let place = problem.span.clone().unwrap();
        (problem.message, &text[place])
    }

    #[test]
    fn it_comes_to_the_tree_that_the_same_in_toml_comes_to() {
        let yaml = "
# ä comment
server: { listen: \"127.0.0.1:0\", max_runs: 7 }
models:
  mini:
    temperature: 0.5
    fallbacks: [a, 'b', null-like]
agents:
  clerk:
    exposed: true
    workers:
      - agent: critic
        max_calls: 0x10
      - agent: 1_000
    instructions: |
      Answer.
      Briefly.
";
        let toml = r#"
[server]
listen = "127.0.0.1:0"
max_runs = 7
[models.mini]
temperature = 0.5
fallbacks = ["a", "b", "null-like"]
[agents.clerk]
exposed = true
workers = [{ agent = "critic", max_calls = 16 }, { agent = "1_000" }]
instructions = "Answer.\nBriefly.\n"
"#;
        assert_eq!(read(yaml), toml::from_str(toml).unwrap());
        assert_eq!(read("# nothing\n"), Table::new());
    }

    #[test]
    fn every_value_knows_its_place_also_behind_letters_of_several_bytes() {
        let text = "aé: 1\nb: 'ü'\nc:\n  - dé: no\n";
        let tree = parse(text).unwrap();
        let places: Vec<_> =
            tree.get_ref().iter().map(|(key, value)| (&text[key.span()], &text[value.span()])).collect();
        assert_eq!(places, [("aé", "1"), ("b", "'ü'"), ("c", "- dé: no\n")]);
    }

    #[test]
    fn what_toml_cannot_say_is_refused_at_its_place() {
        let said = |text: &str| wrong(text).0;
        assert_eq!(wrong("a: 1\na: 2\n"), ("`a` is here twice".to_owned(), "a"));
        assert!(said("server:\nlog: {}\n").contains("`server` has no value; write `{}`"));
        assert!(said("a: [1, null]\n").contains("a value is missing"));
        assert!(said("a: &x 1\nb: *x\n").contains("anchors and aliases"));
        assert!(said("a: !!str 1\n").contains("tags"));
        assert!(said("a: 1\n---\nb: 2\n").contains("one document"));
        assert!(said("- a\n").contains("a configuration is a mapping"));
        assert!(said("? [a]\n: b\n").contains("a key is a plain word"));
        assert_eq!(wrong("a: 007\n").1, "007");
        assert!(said(&format!("a: {}{}", "[".repeat(200), "]".repeat(200))).contains("nested deeper"));
        assert!(!said("a: [1\nb: 2\n").is_empty());
    }
}
