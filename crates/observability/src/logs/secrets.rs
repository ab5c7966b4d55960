//! Hides what looks like a credential.

use std::borrow::Cow;

/// How credentials begin that one can tell by their form: keys of model providers, clouds, code hosts, chat services,
/// and JSON Web Tokens. See for example
/// <https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns>.
const BEGINNINGS: [&str; 19] = [
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

/// Shorter words that begin so are words, not keys.
const SHORTEST: usize = 16;

/// The text with everything that looks like a credential cut to its beginning. Credentials are in one type that shows
/// nothing; this is for those that come back in somebody's error message, or that a person pastes into a prompt.
pub fn mask(text: &str) -> Cow<'_, str> {
    let suspicious = |text: &str| text.contains("earer ") || BEGINNINGS.iter().any(|start| text.contains(start));
    if !suspicious(text) {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut after_bearer = false;
    for piece in text.split_inclusive(|character: char| !is_of_key(character)) {
        let word = piece.trim_end_matches(|character: char| !is_of_key(character));
        match beginning(word).or((after_bearer && word.len() >= SHORTEST).then_some("")) {
            Some(beginning) => {
                masked.extend([beginning, "[masked]"]);
                masked.push_str(piece.strip_prefix(word).unwrap_or_default());
            }
            None => masked.push_str(piece),
        }
        after_bearer = word.eq_ignore_ascii_case("bearer") || (after_bearer && word.is_empty());
    }
    Cow::Owned(masked)
}

fn beginning(word: &str) -> Option<&'static str> {
    let long = word.len() >= SHORTEST;
    BEGINNINGS.into_iter().find(|start| long && word.starts_with(start))
}

fn is_of_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_cut_to_their_beginning_wherever_they_stand() {
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
    fn words_stay() {
        for text in ["", "a risk-averse answer", "sk-", "the bearer of news", "eyJ", "ask-me-anything-you-want-to-know"]
        {
            assert_eq!(mask(text), text);
        }
    }
}
