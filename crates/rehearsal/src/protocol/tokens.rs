//! Counts tokens about as the vendors' tokenizers do.
//!
//! The rules were held against the usage that `OpenAI` and Anthropic reported for recorded prompts and answers: without
//! tools, they are within a tenth of most. So a client that guesses by the length of a text is as wrong here as it would be
//! there: too high for prose, too low for code, and far too low for a short prompt.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::protocol::dialect::WireDialect;

/// What the vendors add to every prompt, and to each message for its role and its borders. `OpenAI` documents three each
/// and one for the role: <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken_inputs>.
const PROMPT: u64 = 3;
const MESSAGE: u64 = 4;

/// The instructions that Anthropic puts before tools:
/// <https://docs.anthropic.com/en/docs/build-with-claude/tool-use#pricing>.
const ANTHROPIC_TOOLS: u64 = 346;

/// What it takes to begin and end a tool call.
const CALL: u64 = 8;

/// Letters that a word may have and still be one token; common ones are, rare ones fall into pieces.
const WORD_LETTERS: usize = 8;

/// Tokens of a text.
pub(crate) fn of_text(text: &str) -> u64 {
    let runs = text.as_bytes().chunk_by(|one, next| Kind::of(*one) == Kind::of(*next));
    let tokens = runs.map(|run| match run.first().map(|byte| Kind::of(*byte)) {
        Some(Kind::Word) => run.len().div_ceil(WORD_LETTERS),
        // A single blank belongs to the word behind it.
        Some(Kind::Blank) => usize::from(run.len() > 1),
        Some(Kind::Break) => 1,
        // Three digits or marks, and a letter of most scripts, which has two or three bytes.
        Some(Kind::Digit | Kind::Mark | Kind::Foreign) => run.len().div_ceil(3),
        None => 0,
    });
    tokens.sum::<usize>() as u64
}

/// Tokens of a tool call in an answer.
pub(crate) fn of_call(name: &str, arguments: &str) -> u64 {
    CALL + of_text(name) + of_text(arguments)
}

/// Tokens of the prompt in a request: what is said in it, not how the protocol writes it down.
pub(crate) fn of_prompt(dialect: WireDialect, body: &[u8]) -> u64 {
    // A body that cannot be read is refused, and nothing is billed.
    let Ok(prompt) = serde_json::from_slice::<Prompt>(body) else { return 0 };
    let standing = prompt.system.tokens + prompt.instructions.tokens;
    let messages = prompt.messages.entries + prompt.input.entries + u64::from(standing > 0);
    let tools = prompt.tools.map(RawValue::get).filter(|tools| *tools != "[]").map_or(0, |tools| {
        let added = if dialect == WireDialect::Anthropic { ANTHROPIC_TOOLS } else { 0 };
        added + of_text(tools)
    });
    PROMPT + MESSAGE * messages + standing + prompt.messages.tokens + prompt.input.tokens + tools
}

#[derive(PartialEq, Eq)]
enum Kind {
    Word,
    Digit,
    Blank,
    Break,
    Mark,
    Foreign,
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Self::Word,
            b'0'..=b'9' => Self::Digit,
            b' ' | b'\t' => Self::Blank,
            b'\n' | b'\r' => Self::Break,
            0x80.. => Self::Foreign,
            _ => Self::Mark,
        }
    }
}

/// The parts of a body that a model gets to see, in all three dialects.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Prompt<'a> {
    messages: Said,
    input: Said,
    system: Said,
    instructions: Said,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

/// Any value, with its texts counted.
#[derive(Default, Clone, Copy)]
struct Said {
    tokens: u64,
    /// Of a list, its entries; of a text, one.
    entries: u64,
}

/// The name of a field.
enum Field {
    /// The protocol's own, and so is its value.
    Protocol,
    /// The protocol's own; what it holds is said.
    Content,
    /// Said, such as the name of an argument.
    Other(u64),
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            "role" | "type" | "id" | "call_id" | "tool_call_id" | "tool_use_id" | "status" | "signature" | "data"
            | "encrypted_content" | "cache_control" | "source" | "image_url" | "detail" | "annotations" => {
                Self::Protocol
            }
            "content" | "text" | "thinking" | "summary" | "refusal" | "output" | "tool_calls" | "function" | "name"
            | "arguments" | "input" => Self::Content,
            other => Self::Other(of_text(other)),
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Field, E> {
                Ok(Field::of(name))
            }
        }
        deserializer.deserialize_str(Names)
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Counter)
    }
}

struct Counter;

impl<'de> Visitor<'de> for Counter {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Said, E> {
        Ok(Said { tokens: of_text(text), entries: 1 })
    }

    fn visit_unit<E: de::Error>(self) -> Result<Said, E> {
        Ok(Said::default())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Said, E> {
        Ok(Said { tokens: 1, entries: 1 })
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Said, E> {
        self.visit_bool(true)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Said, E> {
        self.visit_bool(true)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Said, E> {
        self.visit_bool(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Said, A::Error> {
        let mut all = Said::default();
        while let Some(entry) = list.next_element::<Said>()? {
            all.tokens += entry.tokens;
            all.entries += 1;
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Said, A::Error> {
        let mut all = Said { tokens: 0, entries: 1 };
        while let Some(field) = fields.next_key()? {
            all.tokens += match field {
                Field::Protocol => {
                    fields.next_value::<IgnoredAny>()?;
                    0
                }
                Field::Content => fields.next_value::<Said>()?.tokens,
                Field::Other(tokens) => tokens + fields.next_value::<Said>()?.tokens,
            };
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prompts with what `OpenAI` and Anthropic counted, from recorded exchanges.
    #[test]
    fn prompts_have_about_as_many_tokens_as_the_vendors_count() {
        let alice = r#"{"messages":[{"role":"user","content":"My name is Alice"},{"role":"assistant","content":"Nice to meet you, Alice! How can I assist you today?"},{"role":"user","content":"What is my name?"}]}"#;
        let paris = r#"{"input":[{"role":"user","content":"What is the capital of France?"}]}"#;
        let test = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say this is a test"}]}"#;
        let stored = r#"{"instructions":"Follow the user instructions exactly.","input":[{"content":"Reply exactly: stored","role":"user"}]}"#;
        let weather = r#"{"messages":[{"content":"You are a helpful assistant.","role":"developer"},{"content":"Hello!","role":"user"},{"content":"Hello! How can I assist you today?","role":"assistant"},{"content":"Answer in up to 5 words: What's the weather like?","role":"user"}]}"#;
        let pelican = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Two names for a pet pelican, be brief"}]},{"role":"assistant","content":[{"type":"text","text":"- Captain\n- Scoop"}]},{"role":"user","content":[{"type":"text","text":"in french"}]}]}"#;
        let words = r#"{"system":[{"type":"text","text":"You are a concise assistant. Answer directly in plain text."}],"messages":[{"role":"user","content":[{"type":"text","text":"Repeat exactly these four words, one per line, and nothing else: alpha bravo charlie delta"}]}]}"#;
        for (body, counted) in
            [(alice, 38), (paris, 13), (test, 12), (stored, 21), (weather, 50), (pelican, 32), (words, 40)]
        {
            let tokens = of_prompt(WireDialect::OpenaiChat, body.as_bytes());
            assert!(tokens.abs_diff(counted) * 10 <= counted, "{tokens} instead of {counted}: {body}");
        }
    }

    #[test]
    fn answers_have_about_as_many_tokens_as_the_vendors_count() {
        assert_eq!(of_text("Your name is Alice. How can I help you today, Alice?"), 14);
        assert_eq!(of_text("17 + 25 = 42"), 5);
        assert_eq!(of_text("2026"), 2);
        assert_eq!(of_text(""), 0);
    }

    #[test]
    fn the_protocol_is_not_said_and_tools_are() {
        let bare = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
        let labelled = r#"{"model":"m","metadata":{"a":"long label"},"messages":[{"role":"user","id":"msg_0123456789","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}]}"#;
        let tools = r#"{"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"lookup"}]}"#;
        let of = |dialect, body: &str| of_prompt(dialect, body.as_bytes());
        assert_eq!(of(WireDialect::Anthropic, bare), 8);
        assert_eq!(of(WireDialect::Anthropic, labelled), 8);
        assert_eq!(of(WireDialect::OpenaiChat, tools), 8 + of_text(r#"[{"name":"lookup"}]"#));
        assert_eq!(of(WireDialect::Anthropic, tools), of(WireDialect::OpenaiChat, tools) + ANTHROPIC_TOOLS);
    }
}
