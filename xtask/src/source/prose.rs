//! The parts of a file that people read as text: comments, documentation and messages.

use crate::source::files;

/// A piece of text within one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prose {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// All prose of a file: of Rust its comments and string literals, of Markdown what is not code, of other files all
/// lines. Code between backticks is left out of comments and Markdown.
pub(crate) fn of_file(path: &str, text: &str) -> Vec<Prose> {
    if files::is_rust(path) {
        return Lexer::new(text).read();
    }
    let is_markdown = files::has_extension(path, "md");
    let mut in_code = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if is_markdown && line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let text = if is_markdown { without_code(line) } else { line.to_owned() };
            found.push(Prose { line: index + 1, text });
        }
    }
    found
}

/// The line without what is between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Reads Rust just far enough to tell comments and literals from code.
struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    found: Vec<Prose>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1, found: Vec::new() }
    }

    fn read(mut self) -> Vec<Prose> {
        let mut before = ' ';
        while let Some(next) = self.rest.chars().next() {
            let is_word = before.is_alphanumeric() || before == '_';
            before = next;
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end, true);
            } else if self.rest.starts_with("/*") {
                let end = block_comment(self.rest);
                self.take(end, true);
            } else if let Some(end) = (!is_word).then(|| raw_string(self.rest)).flatten() {
                self.take(end, false);
            } else if next == '"' {
                let end = string(self.rest);
                self.take(end, false);
            } else {
                self.skip(if next == '\'' { character(self.rest) } else { next.len_utf8() });
            }
        }
        self.found
    }

    /// Keeps `length` bytes as prose, line by line.
    fn take(&mut self, length: usize, is_comment: bool) {
        let (text, rest) = self.rest.split_at(length);
        for (index, line) in text.split('\n').enumerate() {
            let text = if is_comment { without_code(line) } else { line.to_owned() };
            self.found.push(Prose { line: self.line + index, text });
        }
        self.line += text.matches('\n').count();
        self.rest = rest;
    }

    fn skip(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        self.line += text.matches('\n').count();
        self.rest = rest;
    }
}

/// The length of a block comment, with the comments inside it.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string literal from its first quote to its last one.
fn string(text: &str) -> usize {
    let mut is_escaped = true;
    for (at, character) in text.char_indices() {
        match character {
            '"' if !is_escaped => return at + 1,
            '\\' if !is_escaped => is_escaped = true,
            _ => is_escaped = false,
        }
    }
    text.len()
}

/// The length of `r"…"`, `r#"…"#` and their forms with `b` or `c`, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let marks = start.chars().take_while(|character| *character == '#').count();
    let body = start.get(marks..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(marks));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

/// The length of a character literal, or of the quote that begins a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some(_)) => characters.find(|(_, character)| *character == '\'').map_or(1, |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_prose(path: &str, text: &str, expected: &[(usize, &str)]) {
        let found = of_file(path, text);
        let found: Vec<_> = found.iter().map(|prose| (prose.line, prose.text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn comments_and_strings_of_rust_are_prose_and_code_is_not() {
        let text = "//! A `b` c.\nfn a<'a>() -> char { /* one\ntwo */ '\"' } // d\nlet e = \"f\\\" // g\nh\";\n";
        let expected = [(1, "//! A ` c."), (2, "/* one"), (3, "two */"), (3, "// d"), (4, "\"f\\\" // g"), (5, "h\"")];
        check_prose("a.rs", text, &expected);
    }

    #[test]
    fn raw_strings_end_at_their_own_mark() {
        check_prose(
            "a.rs",
            "r#\"a \" // b\"# + c(br\"d\") // e",
            &[(1, "r#\"a \" // b\"#"), (1, "br\"d\""), (1, "// e")],
        );
    }

    #[test]
    fn escaped_quotes_of_characters_are_not_strings() {
        check_prose("a.rs", "('\\'', '\\\\', '\"', 'a') // b", &[(1, "// b")]);
    }

    #[test]
    fn code_in_markdown_is_not_prose() {
        check_prose("a.md", "One `two` three.\n```rust\nfour\n```\nfive", &[(1, "One ` three."), (5, "five")]);
    }

    #[test]
    fn all_of_a_configuration_is_prose() {
        check_prose("a.yml", "summary: one `two`\n", &[(1, "summary: one `two`")]);
    }
}
