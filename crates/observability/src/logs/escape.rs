//! Escapes characters that could forge a log line or control a terminal.

use std::{borrow::Cow, fmt, fmt::Write};

/// Escapes text so that it stays on one line and cannot control a terminal: `\n`, `\u{1b}`.
///
/// Text from models, tools and providers ends up in log lines. A line break would forge a line, an escape sequence would
/// repaint the terminal (CWE-117), and a change of the text direction would hide or reorder text.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |out, character| write!(out, "{}", character.escape_default()))
}

/// Escapes JSON so that it cannot control a terminal. JSON itself only escapes characters below a space.
pub(crate) fn in_json(text: &str) -> Cow<'_, str> {
    escaped(text, |out, character| write!(out, "\\u{:04x}", u32::from(character)))
}

fn escaped(text: &str, escape: impl Fn(&mut String, char) -> fmt::Result) -> Cow<'_, str> {
    // Most text is plain. Unlike `all`, a fold has no early exit, so the compiler can check many bytes at once.
    if text.bytes().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            // Writing to a `String` cannot fail.
            let _ = escape(&mut out, character);
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
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
        assert_eq!(one_line("a\r\n2026 \u{1b}[31m\u{9b}\u{202e}ü"), r"a\r\n2026 \u{1b}[31m\u{9b}\u{202e}ü");
        assert_eq!(one_line("plain"), "plain");
    }

    #[test]
    fn escaped_json_is_still_valid() {
        let json = serde_json::json!({"a": "x\n\u{9b}y"}).to_string();
        assert_eq!(in_json(&json), r#"{"a":"x\n\u009by"}"#);
    }
}
