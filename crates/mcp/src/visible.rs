//! Characters that a person who reads a text does not see, and that a model reads all the same.

/// Ranges of characters without a visible form: control characters, zero-width and bidirectional ones, fillers, variation
/// selectors, and the tags that repeat ASCII.
const INVISIBLE: [(char, char); 18] = [
    ('\0', '\u{8}'),
    ('\u{b}', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character has no visible form. A tab and a line feed are white space, which a reader sees.
pub(crate) fn is_invisible(char: char) -> bool {
    INVISIBLE.iter().any(|&(first, last)| (first..=last).contains(&char))
}

/// The text without invisible characters.
pub(crate) fn visible(text: &str) -> String {
    text.chars().filter(|&char| !is_invisible(char)).collect()
}

/// One line of at most `limit` bytes, for logs and messages.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line: String = visible(text).replace(['\n', '\t'], " ");
    if line.len() > limit {
        line.truncate(line.floor_char_boundary(limit));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_without_a_visible_form_are_left_out() {
        assert_eq!(visible("Reads\u{200b} a\u{202e} file.\u{e0041}\u{feff}\u{1b}[31m\u{ad}"), "Reads a file.[31m");
        assert_eq!(visible("größer\tals\nß 你好 👍"), "größer\tals\nß 你好 👍");
    }

    #[test]
    fn a_line_for_a_log_is_cut() {
        assert_eq!(one_line("one\ntwo\r\n", 100), "one two ");
        assert_eq!(one_line("grün", 3), "gr…");
    }
}
