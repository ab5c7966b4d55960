//! Masks credentials.

use std::borrow::Cow;

/// Prefixes of credentials with a recognizable form: keys of model providers, clouds, code hosts and chat services, and
/// JSON Web Tokens. See for example
/// <https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns>.
const PREFIXES: [&str; 19] = [
    "sk-",
    "sk_live_",
    "rk_live_",
    "pk-lf-",
    "gsk_",
    "xai-",
    "hf_",
    "r8_",
    "AIza",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "eyJ",
];

/// Shorter words with such a prefix are not keys.
const MIN_LENGTH: usize = 16;

/// Replaces everything that looks like a credential with its prefix and `[masked]`. Use it for texts from outside:
/// providers quote keys in error messages, and people paste them into prompts.
///
/// ```
/// use brigade_observability::mask;
///
/// assert_eq!(mask("wrong key sk-proj-abcdefghijklmnop"), "wrong key sk-[masked]");
/// ```
pub fn mask(text: &str) -> Cow<'_, str> {
    // Most log lines have no credential: one look at each byte is enough for them.
    let mut words = text.as_bytes().split(|byte| !is_key_byte(*byte));
    if !words.any(|word| prefix_of(word).is_some() || is_bearer(word)) {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut after_bearer = false;
    for piece in text.split_inclusive(|character: char| !is_key_character(character)) {
        let word = piece.trim_end_matches(|character: char| !is_key_character(character));
        match prefix_of(word.as_bytes()).or((after_bearer && word.len() >= MIN_LENGTH).then_some("")) {
            Some(prefix) => {
                masked.extend([prefix, "[masked]"]);
                masked.push_str(piece.strip_prefix(word).unwrap_or_default());
            }
            None => masked.push_str(piece),
        }
        after_bearer = is_bearer(word.as_bytes()) || (after_bearer && word.is_empty());
    }
    Cow::Owned(masked)
}

fn prefix_of(word: &[u8]) -> Option<&'static str> {
    if word.len() < MIN_LENGTH {
        return None;
    }
    PREFIXES.iter().copied().find(|start| word.starts_with(start.as_bytes()))
}

fn is_bearer(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"bearer")
}

fn is_key_character(character: char) -> bool {
    u8::try_from(character).is_ok_and(is_key_byte)
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_anywhere_in_a_text() {
        for (text, masked) in [
            ("key sk-proj-abcdefghijklmnop.", "key sk-[masked]"),
            (r#"{"api_key":"sk-ant-api03-abcdefghij","n":1}"#, r#"{"api_key":"sk-[masked]","n":1}"#),
            ("Authorization: Bearer abcdefghijklmnop123, next", "Authorization: Bearer [masked], next"),
            ("?key=AIzaSyAabcdefghijk&x=1", "?key=AIza[masked]&x=1"),
            ("AKIAIOSFODNN7EXAMPLE\nghp_0123456789abcdef", "AKIA[masked]\nghp_[masked]"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn ordinary_words_are_not_masked() {
        for text in ["", "a risk-averse answer", "sk-", "the bearer of news", "eyJ", "ask-me-anything-you-want-to-know"]
        {
            assert_eq!(mask(text), text);
        }
    }
}
