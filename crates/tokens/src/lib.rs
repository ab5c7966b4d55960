//! The most tokens that a model's tokenizer makes of a text.
//!
//! No tokenizer is linked: most vocabularies are not published. An estimate from the length of a text is right on average
//! and far too low for digits, CSV or Chinese; these functions return an upper bound for any text.
//!
//! ```
//! use brigade_tokens::most_tokens;
//!
//! assert_eq!(most_tokens("We have nothing to do with the results of the meeting."), 13);
//! assert_eq!(most_tokens("1729,0.25"), 9);
//! ```

use std::{collections::HashSet, sync::LazyLock};

use foldhash::fast::FixedState;

/// Words that are a single token when a space is in front of them. This holds in each of the ten published vocabularies
/// that were compared: those of GPT-2, GPT-3, GPT-4, GPT-4o, Claude 2, Llama 2, Llama 3, Qwen 3, `DeepSeek` V3, Gemma 3.
static COMMON_WORDS: LazyLock<HashSet<&str, FixedState>> =
    LazyLock::new(|| include_str!("common_words.txt").lines().collect());

/// Returns the most tokens that a tokenizer makes of a text.
///
/// The tokenizers of language models encode bytes or fall back to bytes, so a token stands for at least one byte. For prose
/// that is four times too high, so a common word counts as one token, if the character behind it ends the word for every
/// tokenizer. An apostrophe does not, because some treat `it's` as one word.
pub fn most_tokens(text: &str) -> u64 {
    // Each piece but the first has a space in front of it. The end of the text may not be the end of a word.
    let saved = text.split_inclusive(' ').skip(1).map(|piece| {
        let letters = piece.bytes().take_while(u8::is_ascii_alphabetic).count();
        let is_common = piece.split_at_checked(letters).is_some_and(|(word, rest)| {
            rest.starts_with([' ', '\n', '.', ',', ';', ':', '!', '?', ')', '"', '-']) && COMMON_WORDS.contains(word)
        });
        if is_common { letters } else { 0 }
    });
    (text.len() - saved.sum::<usize>()) as u64
}

/// Returns the most tokens of a text that a chat template may write as a JSON string.
pub fn most_tokens_in_json(text: &str) -> u64 {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        // `\u001b`, and `\u00e9` for the two bytes of an accented letter.
        ..b' ' => 5,
        0x80.. => 2,
        _ => 0,
    });
    most_tokens(text) + escapes.sum::<u64>()
}

#[cfg(test)]
mod tests;
