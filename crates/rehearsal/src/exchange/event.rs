//! Server-sent events of a streamed reply.

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` line. Chat Completions has none.
    pub(crate) name: Option<&'static str>,
    pub(crate) data: String,
    pub(crate) kind: EventKind,
}

/// The role of an event in the stream, which matters for faults and for latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// Opens or closes something.
    Frame,
    /// Carries new text, thinking or the start of a tool call.
    Delta,
    /// Carries a piece of a tool call's arguments.
    Arguments,
    /// Reports why the model stopped.
    Finish,
    /// Reports the usage and nothing else.
    Usage,
    /// Ends the stream.
    Done,
    /// Keeps the connection alive.
    Ping,
}

impl EventKind {
    /// Whether the event carries output of the model.
    pub(crate) fn is_delta(self) -> bool {
        matches!(self, Self::Delta | Self::Arguments)
    }
}

/// Cuts a text into words with their leading blank, approximately as a tokenizer does. No piece is empty.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    pieces(text, |rest| {
        let mut letters = rest.char_indices().skip(1);
        letters.find(|&(_, letter)| letter == ' ' || letter == '\n').map(|(index, _)| index)
    })
}

/// Cuts a tool call's arguments into pieces of a few characters.
pub(crate) fn argument_pieces(text: &str) -> impl Iterator<Item = &str> {
    const CHARACTERS: usize = 9;
    // A call of five megabytes comes in thousands of events, not in a million.
    let characters = CHARACTERS.max(text.len() / 4096);
    pieces(text, move |rest| rest.char_indices().nth(characters).map(|(index, _)| index))
}

fn pieces(text: &str, next_cut: impl Fn(&str) -> Option<usize>) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at(next_cut(rest).unwrap_or(rest.len()));
        rest = tail;
        Some(piece)
    })
}
