//! Emits the deltas and quirks that a decoder finds as events of the run.

use std::{borrow::Cow, sync::Arc};

use brigade_core::{Delta, Event, Run};

use super::{
    protocol::WireQuirk,
    think_tags::{Piece, TagFilter},
};
use crate::json::repair;

/// Receives the deltas and quirks that a decoder finds, and emits them as events of the run.
#[derive(Debug)]
pub struct EventSink<'a> {
    run: &'a Run,
    provider: &'a Arc<str>,
    /// A bit for each quirk that was reported.
    reported: u64,
    /// How much of the answer came in deltas.
    answer_bytes: usize,
    tags: TagFilter,
    /// Halves of characters at the end of the text and of the reasoning.
    held_text: String,
    held_thinking: String,
}

impl<'a> EventSink<'a> {
    pub(crate) fn new(run: &'a Run, provider: &'a Arc<str>) -> Self {
        let (held_text, held_thinking) = (String::new(), String::new());
        Self { run, provider, reported: 0, answer_bytes: 0, tags: TagFilter::default(), held_text, held_thinking }
    }

    /// Whether a stream was requested.
    pub(crate) fn wants_deltas(&self) -> bool {
        self.run.wants_deltas()
    }

    /// The bytes of text, reasoning and arguments so far.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Emits text of the answer. Reasoning between tags at its head is emitted as reasoning.
    pub fn text(&mut self, text: &str) {
        self.answer_bytes += text.len();
        if self.wants_deltas() {
            let whole = whole_characters(&mut self.held_text, text);
            let run = self.run;
            self.tags.push(&whole, &mut |piece, text| emit(run, piece, text));
        }
    }

    /// Emits text of the reasoning.
    pub fn thinking(&mut self, text: &str) {
        self.answer_bytes += text.len();
        if self.wants_deltas() {
            emit(self.run, Piece::Thinking, &whole_characters(&mut self.held_thinking, text));
        }
    }

    /// Reports that a tool call began.
    pub fn tool_call(&mut self, name: &str) {
        self.run.emit_delta(|| Delta::ToolCall { name: name.to_owned() });
    }

    /// Reports a part of the arguments of a tool call.
    pub fn arguments(&mut self, bytes: usize) {
        self.answer_bytes += bytes;
        if bytes > 0 {
            self.run.emit_delta(|| Delta::Arguments { bytes });
        }
    }

    /// Emits the characters that were held back.
    pub(crate) fn finish(&mut self) {
        let run = self.run;
        let [text, thinking] =
            [&mut self.held_text, &mut self.held_thinking].map(|held| repair::resolve(&std::mem::take(held)));
        emit(run, Piece::Thinking, &thinking);
        self.tags.push(&text, &mut |piece, text| emit(run, piece, text));
        self.tags.finish(&mut |piece, text| emit(run, piece, text));
    }

    /// Reports that the response departs from the documented form. Each quirk is reported once per response, so that
    /// repeated ones do not hide the others.
    pub fn quirk(&mut self, quirk: WireQuirk) {
        let bit = 1 << quirk as u32;
        if self.reported & bit == 0 {
            self.reported |= bit;
            self.run.emit(&Event::WireQuirk { provider: Arc::clone(self.provider), kind: quirk.name().into() });
        }
    }
}

fn emit(run: &Run, piece: Piece, text: &str) {
    if !text.is_empty() {
        run.emit_delta(|| match piece {
            Piece::Text => Delta::Text(text.to_owned()),
            Piece::Thinking => Delta::Thinking(text.to_owned()),
        });
    }
}

/// The text up to its last whole character; the other half of the next one may follow.
fn whole_characters<'t>(held: &mut String, text: &'t str) -> Cow<'t, str> {
    if held.is_empty() && !text.contains(repair::is_mark) {
        return Cow::Borrowed(text);
    }
    let mut joined = std::mem::take(held) + text;
    *held = joined.split_off(joined.trim_end_matches(repair::is_mark).len());
    Cow::Owned(repair::resolve(&joined))
}
