//! Reasoning that a model writes into its answer, between tags.
//!
//! Servers without a parser for a model's reasoning pass it on as text. Some templates put the opening tag into the prompt,
//! so that the answer has only the closing one.

use memchr::memmem;

/// Tags of model families: `DeepSeek`, Qwen and many others; Gemma; Seed; Magistral; Kimi.
const TAGS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
];

/// A text that began with reasoning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TaggedText<'a> {
    pub(crate) thinking: &'a str,
    pub(crate) answer: &'a str,
    has_opening: bool,
}

impl TaggedText<'_> {
    /// Takes what stands before a single closing tag as the answer, if nothing follows it.
    pub(crate) fn or_answer(self) -> Self {
        if self.has_opening || !self.answer.is_empty() {
            return self;
        }
        Self { thinking: "", answer: self.thinking, has_opening: false }
    }
}

/// Separates reasoning at the head of a whole text from the answer. `cut_off` says that the text reached the token limit,
/// so that its reasoning may have no end.
pub(crate) fn split(text: &str, cut_off: bool) -> Option<TaggedText<'_>> {
    let head = text.trim_start();
    for (open, close) in TAGS {
        if let Some(rest) = head.strip_prefix(open) {
            return match rest.split_once(close) {
                Some((thinking, answer)) => Some(tagged(thinking, answer, true)),
                None => cut_off.then(|| tagged(rest, "", true)),
            };
        }
    }
    // Each closing tag has a slash. Preparing a search for each of them takes longer than the rest of decoding.
    memchr::memchr(b'/', text.as_bytes())?;
    let unopened = |(open, close): (&str, &str)| {
        // Much faster than `split_once`, which counts in an answer of average length.
        let at = memmem::find(text.as_bytes(), close.as_bytes())?;
        let (thinking, answer) = (text.get(..at)?, text.get(at + close.len()..)?);
        // An answer may write about the tag.
        let is_quote = |character: char| matches!(character, '`' | '"' | '\'');
        let quoted = thinking.ends_with(is_quote) || answer.starts_with(is_quote) || thinking.contains(open);
        (!quoted).then(|| tagged(thinking, answer, false))
    };
    TAGS.into_iter().find_map(unopened)
}

fn tagged<'a>(thinking: &'a str, answer: &'a str, has_opening: bool) -> TaggedText<'a> {
    TaggedText { thinking: thinking.trim(), answer: answer.trim_start(), has_opening }
}

/// The kind of a piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Text,
    Thinking,
}

/// Separates reasoning at the head of a streamed text. Without an opening tag it cannot be recognized in time.
#[derive(Debug, Default)]
pub(crate) struct TagFilter {
    state: State,
    /// What may be the beginning of a tag.
    held: String,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// Until this closing tag.
    Thinking(&'static str),
    /// Blanks between the tag and the answer.
    Between,
    Answer,
}

impl TagFilter {
    /// Adds text and passes on the part that is certainly text or reasoning.
    pub(crate) fn push(&mut self, text: &str, emit: &mut impl FnMut(Piece, &str)) {
        if let State::Answer = self.state {
            return emit(Piece::Text, text);
        }
        self.held.push_str(text);
        if let State::Head = self.state {
            let head = self.held.trim_start();
            match TAGS.into_iter().find(|(open, _)| head.starts_with(open)) {
                Some((open, close)) => {
                    self.held = head.get(open.len()..).unwrap_or_default().to_owned();
                    self.state = State::Thinking(close);
                }
                None if TAGS.into_iter().any(|(open, _)| open.starts_with(head)) => {}
                None => self.state = State::Answer,
            }
        }
        if let State::Thinking(close) = self.state {
            self.think(close, emit);
        }
        if let State::Between = self.state {
            let answer = self.held.trim_start();
            if !answer.is_empty() {
                self.held = answer.to_owned();
                self.state = State::Answer;
            }
        }
        if let State::Answer = self.state {
            emit(Piece::Text, &std::mem::take(&mut self.held));
        }
    }

    fn think(&mut self, close: &str, emit: &mut impl FnMut(Piece, &str)) {
        if let Some((thinking, answer)) = self.held.split_once(close) {
            emit(Piece::Thinking, thinking);
            self.held = answer.to_owned();
            self.state = State::Between;
            return;
        }
        // The longest end that may be the beginning of the closing tag.
        let ends = self
            .held
            .char_indices()
            .map(|(start, _)| start)
            .find(|start| self.held.get(*start..).is_some_and(|end| close.starts_with(end)));
        let rest = self.held.split_off(ends.unwrap_or(self.held.len()));
        emit(Piece::Thinking, &std::mem::replace(&mut self.held, rest));
    }

    /// Ends the text, and passes on the characters that were held back.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Piece, &str)) {
        let piece = if let State::Thinking(_) = self.state { Piece::Thinking } else { Piece::Text };
        let held = std::mem::take(&mut self.held);
        if !matches!(self.state, State::Between) {
            emit(piece, &held);
        }
        self.state = State::Answer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(&str, &str)> {
        split(text, false).map(|tagged| (tagged.thinking, tagged.answer))
    }

    #[test]
    fn reasoning_between_tags_is_not_the_answer() {
        for (open, close) in TAGS {
            assert_eq!(parts(&format!("\n{open}\nhm\n{close}\n\nHi {open}")), Some(("hm", &*format!("Hi {open}"))));
            assert_eq!(parts(&format!("hm\n{close}Hi")), Some(("hm", "Hi")));
        }
        assert_eq!(parts("Write `</think>` at the end."), None);
        assert_eq!(parts("A <think> b </think> c"), None);
        assert_eq!(parts("<think>never closed"), None);
        assert_eq!(split("<think>cut", true), Some(tagged("cut", "", true)));
    }

    #[test]
    fn a_streamed_text_is_split_wherever_its_deltas_end() {
        for (text, thinking, answer) in [
            (" <think>a < b</think>\n\nHi <think>", "a < b", "Hi <think>"),
            ("<thinking>a</thinking>Hi", "a", "Hi"),
            ("<thin air", "", "<thin air"),
            ("  ", "", "  "),
            ("<think>a</thi", "a</thi", ""),
            ("Hi", "", "Hi"),
        ] {
            for size in 1..text.len() {
                let (mut filter, mut seen) = (TagFilter::default(), [String::new(), String::new()]);
                let mut emit = |piece, text: &str| seen[usize::from(piece == Piece::Text)].push_str(text);
                let characters: Vec<char> = text.chars().collect();
                for chunk in characters.chunks(size) {
                    filter.push(&chunk.iter().collect::<String>(), &mut emit);
                }
                filter.finish(&mut emit);
                assert_eq!(seen, [thinking, answer], "{text} {size}");
            }
        }
    }
}
