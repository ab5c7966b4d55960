//! The text that an agent shows while it works.

use brigade_core::{Delta, Event, Observer, Run};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The text that an agent shows while it works, by message. It is an [`Observer`] of the run, and any number of readers
/// follow it, each at its own speed.
#[derive(Debug, Default)]
pub struct ShownText {
    /// Only the last one may be empty: that of a turn that has not shown anything.
    messages: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextPosition {
    message: usize,
    bytes: usize,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum TextPiece {
    /// Text of the current message.
    Text(String),
    /// The message is complete.
    MessageEnd,
}

/// The most text that is read at once: a few pages.
const MAX_PIECE_BYTES: usize = 16 << 10;

impl ShownText {
    /// All messages so far.
    pub fn messages(&self) -> Vec<String> {
        self.messages.lock().clone()
    }

    /// Notified of each change.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The next piece after this position, which it moves; absent if there is none yet.
    pub fn next_piece(&self, position: &mut TextPosition) -> Option<TextPiece> {
        let messages = self.messages.lock();
        let rest = messages.get(position.message)?.get(position.bytes..)?;
        if !rest.is_empty() {
            let piece = rest.get(..rest.floor_char_boundary(MAX_PIECE_BYTES))?;
            position.bytes += piece.len();
            return Some(TextPiece::Text(piece.to_owned()));
        }
        if position.message + 1 == messages.len() {
            return None;
        }
        *position = TextPosition { message: position.message + 1, bytes: 0 };
        Some(TextPiece::MessageEnd)
    }
}

impl Observer for ShownText {
    fn on_event(&self, run: &Run, event: &Event) {
        if run.depth() > 0 {
            return;
        }
        let mut messages = self.messages.lock();
        if matches!(event, Event::ReplyRestarted) {
            // Runs whose text was sent do not restart replies.
            if let Some(last) = messages.last_mut() {
                last.clear();
            }
        } else if matches!(event, Event::TurnStarted { .. }) {
            if messages.last().is_none_or(|last| !last.is_empty()) {
                messages.push(String::new());
            }
        } else if let Event::Delta(Delta::Text(text)) = event {
            match messages.last_mut() {
                Some(last) => last.push_str(text),
                None => messages.push(text.clone()),
            }
        } else {
            return;
        }
        drop(messages);
        self.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::ModelId;

    use super::*;

    #[test]
    fn each_reader_gets_all_text_by_message() {
        let (text, run) = (ShownText::default(), Run::new());
        let turn = || Event::TurnStarted { turn: 1, model: ModelId::new("sim", "x") };
        let says = |words: &str| text.on_event(&run, &Event::Delta(Delta::Text(words.to_owned())));
        let read = |position: &mut TextPosition| std::iter::from_fn(|| text.next_piece(position)).collect::<Vec<_>>();
        let mut early = TextPosition::default();
        assert_eq!(read(&mut early), []);
        text.on_event(&run, &turn());
        says("Let me ");
        says("look.");
        assert_eq!(read(&mut early), [TextPiece::Text("Let me look.".to_owned())]);
        // A turn that only calls tools shows nothing.
        text.on_event(&run, &turn());
        text.on_event(&run, &turn());
        says(&"é".repeat(MAX_PIECE_BYTES / 2 + 1));
        let rest = read(&mut early);
        assert_eq!((rest.len(), &rest[0], &rest[2]), (3, &TextPiece::MessageEnd, &TextPiece::Text("é".to_owned())));
        assert_eq!(read(&mut TextPosition::default()).len(), 4, "a late reader gets the same");
        assert_eq!(text.messages().len(), 2);
    }
}
