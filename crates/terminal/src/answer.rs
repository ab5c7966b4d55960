//! Text on a terminal.

use std::io::IsTerminal;

/// What the terminal at standard output can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terminal {
    /// The number of columns; absent if standard output is not a terminal.
    pub width: Option<usize>,
    /// Whether to use colors. Not if `NO_COLOR` is set, see <https://no-color.org>.
    pub color: bool,
}

/// Prints an answer in pieces: wraps lines between words, and shows bold text as bold. Text for a file or a pipe stays as
/// it is.
#[derive(Debug)]
pub struct AnswerText {
    terminal: Terminal,
    /// The word that has not been printed yet, because its end is not known.
    word: String,
    /// The spaces before the word.
    spaces: usize,
    column: usize,
    /// The indentation of the lines into which a long line is broken.
    indent: usize,
    /// True until the first word of a line.
    is_line_start: bool,
    is_bold: bool,
    /// True within a block of code, whose lines are not wrapped.
    is_code: bool,
}

const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

impl Terminal {
    /// Looks at the standard output of this process.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::default();
        }
        let width = terminal_size::terminal_size_of(stdout).map_or(80, |(width, _)| usize::from(width.0));
        let is_capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let color = is_capable && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { width: Some(width.max(20)), color }
    }
}

/// Removes control characters, so that a model or a tool cannot control the terminal, and shows the characters that would
/// hide or reorder text, such as `⟨202E⟩`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            // Zero-width characters and Unicode's controls of direction: <https://www.unicode.org/reports/tr9/>.
            '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                shown.extend(["⟨", &format!("{:04X}", u32::from(char)), "⟩"]);
            }
            '\n' | '\t' => shown.push(char),
            _ if char.is_control() => {}
            _ => shown.push(char),
        }
    }
    shown
}

impl AnswerText {
    /// The beginning of an answer.
    pub fn new(terminal: Terminal) -> Self {
        Self {
            terminal,
            word: String::new(),
            spaces: 0,
            column: 0,
            indent: 0,
            is_line_start: true,
            is_bold: false,
            is_code: false,
        }
    }

    /// The whole answer.
    pub fn whole(terminal: Terminal, text: &str) -> String {
        let mut answer = Self::new(terminal);
        answer.add(text) + &answer.end()
    }

    /// Adds a piece of the answer. Returns what can be printed now.
    pub fn add(&mut self, text: &str) -> String {
        let text = printable(text);
        let Some(width) = self.terminal.width else { return text };
        let mut out = String::new();
        for char in text.chars() {
            match char {
                '\n' => {
                    self.end_word(&mut out, width);
                    self.end_line(&mut out);
                }
                ' ' if !self.is_code => {
                    self.end_word(&mut out, width);
                    self.spaces += 1;
                }
                char => self.word.push(char),
            }
        }
        out
    }

    /// Ends the answer. Returns the rest.
    pub fn end(&mut self) -> String {
        let mut out = String::new();
        self.end_word(&mut out, self.terminal.width.unwrap_or(usize::MAX));
        self.set_bold(&mut out, false);
        out
    }

    fn end_line(&mut self, out: &mut String) {
        self.set_bold(out, false);
        out.push('\n');
        (self.spaces, self.column, self.indent, self.is_line_start) = (0, 0, 0, true);
    }

    fn end_word(&mut self, out: &mut String, width: usize) {
        let word = std::mem::take(&mut self.word);
        if word.is_empty() {
            return;
        }
        let is_first = std::mem::replace(&mut self.is_line_start, false);
        if is_first && self.is_bold {
            // The space between the mark of a heading and its text.
            self.spaces = 0;
        }
        if word.starts_with("```") && is_first {
            self.is_code = !self.is_code;
        }
        if self.is_code {
            return self.print(out, &word);
        }
        if is_first && word.len() <= 6 && word.bytes().all(|byte| byte == b'#') {
            // A heading is bold without its marks.
            self.set_bold(out, true);
            self.is_bold = true;
            self.is_line_start = true;
            return;
        }
        let (pieces, length) = self.pieces(&word);
        if !is_first && self.column + self.spaces + length > width {
            out.push('\n');
            (self.spaces, self.column) = (self.indent, 0);
        }
        for piece in pieces {
            match piece {
                Some(text) => self.print(out, text),
                None => self.set_bold(out, !self.is_bold),
            }
        }
        if is_first {
            let is_marker = matches!(&*word, "-" | "*" | "+" | "•") || is_list_number(&word);
            self.indent = if is_marker { self.column + 1 } else { self.column.saturating_sub(length) };
        }
    }

    /// Splits a word at the marks of bold text, which are `None`. Returns the number of columns, too.
    fn pieces<'a>(&self, word: &'a str) -> (Vec<Option<&'a str>>, usize) {
        let (mut pieces, mut rest, mut is_bold, mut length) = (Vec::new(), word, self.is_bold, 0);
        while let Some(at) = rest.find("**") {
            let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 2..).unwrap_or_default());
            // `2**3` has no mark: bold text begins at the beginning of a word, and ends at the end of one.
            let opens = !is_bold && !before.ends_with(char::is_alphanumeric) && !after.is_empty();
            let closes = is_bold && !after.starts_with(char::is_alphanumeric);
            if !opens && !closes {
                break;
            }
            is_bold = !is_bold;
            length += before.chars().count();
            pieces.extend([Some(before), None]);
            rest = after;
        }
        pieces.push(Some(rest));
        (pieces, length + rest.chars().count())
    }

    fn print(&mut self, out: &mut String, text: &str) {
        out.extend(std::iter::repeat_n(' ', self.spaces));
        out.push_str(text);
        self.column += self.spaces + text.chars().count();
        self.spaces = 0;
    }

    fn set_bold(&mut self, out: &mut String, is_bold: bool) {
        if self.is_bold != is_bold && self.terminal.color {
            // The spaces come before the first bold word.
            self.print(out, "");
            out.push_str(if is_bold { BOLD } else { RESET });
        }
        self.is_bold = is_bold;
    }
}

/// True for `1.` and `12)`.
fn is_list_number(word: &str) -> bool {
    let number = word.strip_suffix(['.', ')']);
    number.is_some_and(|digits| (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal { width: Some(20), color: false };
    const COLOR: Terminal = Terminal { width: Some(20), color: true };

    #[test]
    fn characters_that_hide_or_reorder_text_are_shown_and_controls_removed() {
        assert_eq!(printable("a\u{202e}b\u{200b}c\u{feff}"), "a⟨202E⟩b⟨200B⟩c⟨FEFF⟩");
        assert_eq!(printable("é\u{1b}[31m\r\n\tü"), "é[31m\n\tü");
    }

    #[test]
    fn lines_are_wrapped_between_words_and_lists_are_indented() {
        let cases = [
            ("one two three four five six", "one two three four\nfive six"),
            ("- one two three four five\n- six", "- one two three four\n  five\n- six"),
            ("12. one two three four", "12. one two three\n    four"),
            ("  a b c d e f g h i j k l", "  a b c d e f g h i\n  j k l"),
            ("unbreakablewordlongerthanthewidth", "unbreakablewordlongerthanthewidth"),
            ("one\n\n\ntwo", "one\n\n\ntwo"),
            ("```\nlet a  =  1; // a line of code\n```", "```\nlet a  =  1; // a line of code\n```"),
        ];
        for (text, expected) in cases {
            assert_eq!(AnswerText::whole(PLAIN, text), expected);
            // Pieces of any size give the same.
            let mut answer = AnswerText::new(PLAIN);
            let pieces: String = text.chars().map(|char| answer.add(&char.to_string())).collect();
            assert_eq!(pieces + &answer.end(), expected);
        }
    }

    #[test]
    fn bold_text_is_bold_or_at_least_without_its_marks() {
        let cases = [
            ("**Stay** on.", "\x1b[1mStay\x1b[0m on.", "Stay on."),
            ("a (**b c**).", "a (\x1b[1mb c\x1b[0m).", "a (b c)."),
            ("# Title\ntext", "\x1b[1mTitle\x1b[0m\ntext", "Title\ntext"),
            ("2**3 and **", "2**3 and **", "2**3 and **"),
            ("**open\nnext", "\x1b[1mopen\x1b[0m\nnext", "open\nnext"),
        ];
        for (text, color, plain) in cases {
            assert_eq!(AnswerText::whole(COLOR, text), color);
            assert_eq!(AnswerText::whole(PLAIN, text), plain);
        }
    }

    #[test]
    fn text_for_a_pipe_stays_as_it_is_but_for_control_characters() {
        let text = "**a** very long line\tof text that no terminal wraps\n\n  - x";
        assert_eq!(AnswerText::whole(Terminal::default(), text), text);
        assert_eq!(AnswerText::whole(Terminal::default(), "\x1b[31mred"), "[31mred");
    }
}
