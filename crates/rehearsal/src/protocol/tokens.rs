//! Counts tokens approximately as the vendors' tokenizers do.
//!
//! The rules were compared with the usage that `OpenAI` and Anthropic reported for recorded prompts and answers. Without
//! tools they are within a tenth of most. So a client that estimates by the length of a text is as wrong here as it is with
//! the vendors: too high for prose, too low for code, and far too low for a short prompt.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::protocol::dialect::WireDialect;

/// The tokens that vendors add to every prompt, and to each message for its role and delimiters. `OpenAI` documents three
/// for each and one for the role: <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken_inputs>.
const PROMPT: u64 = 3;
const MESSAGE: u64 = 4;

/// The instructions that Anthropic adds for tools:
/// <https://docs.anthropic.com/en/docs/build-with-claude/tool-use#pricing>.
const ANTHROPIC_TOOLS: u64 = 346;

/// The delimiters of a tool call.
const CALL: u64 = 8;

/// The letters per token in a word: a common word is one token, a rare one several.
const WORD_LETTERS: usize = 8;

/// Counts the tokens of a text.
pub(crate) type CountTokens = fn(&str) -> u64;

/// The tokens of a text.
pub(crate) fn of_text(text: &str) -> u64 {
    let runs = text.as_bytes().chunk_by(|one, next| ByteKind::new(*one) == ByteKind::new(*next));
    let tokens = runs.map(|run| match run.first().map(|byte| ByteKind::new(*byte)) {
        Some(ByteKind::Word) => run.len().div_ceil(WORD_LETTERS),
        // A single blank belongs to the next word.
        Some(ByteKind::Blank) => usize::from(run.len() > 1),
        Some(ByteKind::Break) => 1,
        // Three digits or punctuation marks, or one letter of another script, which has two or three bytes.
        Some(ByteKind::Digit | ByteKind::Mark | ByteKind::Foreign) => run.len().div_ceil(3),
        None => 0,
    });
    tokens.sum::<usize>() as u64
}

/// The tokens of a tool call in an answer.
pub(crate) fn of_call(name: &str, arguments: &str, of_text: CountTokens) -> u64 {
    CALL + of_text(name) + of_text(arguments)
}

/// The input tokens of a request: those of its content, without the syntax of the protocol.
pub(crate) fn of_prompt(dialect: WireDialect, body: &[u8], of_text: CountTokens) -> u64 {
    // An unreadable body is rejected, and nothing is billed.
    let Ok(prompt) = serde_json::from_slice::<Prompt>(body) else { return 0 };
    let instructions = of_value(&prompt.system, of_text) + of_value(&prompt.instructions, of_text);
    let messages = entries(&prompt.messages) + entries(&prompt.input) + u64::from(instructions > 0);
    let content = of_value(&prompt.messages, of_text) + of_value(&prompt.input, of_text);
    let tools = prompt.tools.map(RawValue::get).filter(|tools| *tools != "[]").map_or(0, |tools| {
        let added = if dialect == WireDialect::Anthropic { ANTHROPIC_TOOLS } else { 0 };
        added + of_text(tools)
    });
    PROMPT + MESSAGE * messages + instructions + content + tools
}

/// The fields of a body that the model sees, in all three dialects.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Prompt<'a> {
    messages: Value,
    input: Value,
    system: Value,
    instructions: Value,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

/// The number of messages in a field: a list of them or a single text.
fn entries(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(list) => list.len() as u64,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => 1,
    }
}

/// The tokens of all texts in a JSON value.
fn of_value(value: &Value, of_text: CountTokens) -> u64 {
    match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => of_text(text),
        Value::Array(list) => list.iter().map(|value| of_value(value, of_text)).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| of_field(name, value, of_text)).sum(),
    }
}

fn of_field(name: &str, value: &Value, of_text: CountTokens) -> u64 {
    match name {
        "role" | "type" | "id" | "call_id" | "tool_call_id" | "tool_use_id" | "status" | "signature" | "data"
        | "encrypted_content" | "cache_control" | "source" | "image_url" | "detail" | "annotations" => 0,
        "content" | "text" | "thinking" | "summary" | "refusal" | "output" | "tool_calls" | "function" | "name"
        | "arguments" | "input" => of_value(value, of_text),
        // A name that is not the protocol's own, such as that of an argument.
        other => of_text(other) + of_value(value, of_text),
    }
}

#[derive(PartialEq, Eq)]
enum ByteKind {
    Word,
    Digit,
    Blank,
    Break,
    Mark,
    Foreign,
}

impl ByteKind {
    fn new(byte: u8) -> Self {
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
            let tokens = of_prompt(WireDialect::OpenaiChat, body.as_bytes(), of_text);
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
    fn tools_count_and_the_syntax_of_the_protocol_does_not() {
        let bare = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
        let labelled = r#"{"model":"m","metadata":{"a":"long label"},"messages":[{"role":"user","id":"msg_0123456789","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}]}"#;
        let tools = r#"{"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"lookup"}]}"#;
        let tokens = |dialect, body: &str| of_prompt(dialect, body.as_bytes(), of_text);
        assert_eq!(tokens(WireDialect::Anthropic, bare), 8);
        assert_eq!(tokens(WireDialect::Anthropic, labelled), 8);
        assert_eq!(tokens(WireDialect::OpenaiChat, tools), 8 + of_text(r#"[{"name":"lookup"}]"#));
        assert_eq!(tokens(WireDialect::Anthropic, tools), tokens(WireDialect::OpenaiChat, tools) + ANTHROPIC_TOOLS);
    }
}
