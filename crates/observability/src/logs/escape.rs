//! Escapes characters that could forge a log line or control a terminal.

use std::fmt::{self, Write};

/// Escapes text so that it stays on one line and cannot control a terminal: `\n`, `\u{1b}`.
///
/// Text from models, tools and providers ends up in log lines. A line break would forge a line, an escape sequence would
/// repaint the terminal (CWE-117), and a change of the text direction would hide or reorder text.
pub(crate) struct OneLine<W>(pub(crate) W);

/// Escapes JSON so that it cannot control a terminal. JSON itself only escapes characters below a space.
pub(crate) struct InJson<W>(pub(crate) W);

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(&mut self.0, text, |out, character| write!(out, "{}", character.escape_default()))
    }
}

impl<W: Write> Write for InJson<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(&mut self.0, text, |out, character| write!(out, "\\u{:04x}", u32::from(character)))
    }
}

fn write_escaped<W: Write>(out: &mut W, text: &str, escape: impl Fn(&mut W, char) -> fmt::Result) -> fmt::Result {
    // Most text is plain. Looking at bytes is many times faster than looking at characters.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return out.write_str(text);
    }
    let mut rest = text;
    while let Some((at, character)) = rest.char_indices().find(|(_, character)| is_harmful(*character)) {
        let (clean, from) = rest.split_at(at);
        out.write_str(clean)?;
        escape(out, character)?;
        rest = from.get(character.len_utf8()..).unwrap_or_default();
    }
    out.write_str(rest)
}

/// Control characters, line and paragraph separators, and overrides of the text direction.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_escape_sequences_are_escaped() {
        let mut out = String::new();
        write!(OneLine(&mut out), "a\r\n2026 \u{1b}[31m\u{9b}\u{202e}ü").unwrap();
        assert_eq!(out, r"a\r\n2026 \u{1b}[31m\u{9b}\u{202e}ü");
    }

    #[test]
    fn escaped_json_is_still_valid() {
        let mut out = String::new();
        write!(InJson(&mut out), "{}", serde_json::json!({"a": "x\n\u{9b}y"})).unwrap();
        assert_eq!(out, r#"{"a":"x\n\u009by"}"#);
    }
}
