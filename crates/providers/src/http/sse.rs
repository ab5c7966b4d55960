//! Server-sent events as the [WHATWG standard] defines them, from chunks of bytes.
//!
//! [WHATWG standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// The longest line, and the most data of one event. The largest event on record is 250 kB of search results.
pub(crate) const MAX_EVENT_BYTES: usize = 8 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The value of its `event` field; empty if it has none.
    pub name: Bytes,
    /// Its `data` lines, joined by line feeds.
    pub data: Bytes,
}

/// A line or an event is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct EventTooLong;

/// Splits a stream of bytes into events, independently of the chunks.
///
/// Bytes are copied once, into the buffer; an event is a slice of it unless it has several `data` lines.
#[derive(Debug, Default)]
pub(crate) struct SseDecoder {
    buffer: BytesMut,
    /// How much of `buffer` has no line end, so that a line in many chunks is scanned once.
    scanned: usize,
    /// The last line ended in CR. A following LF belongs to it.
    after_cr: bool,
    started: bool,
    name: Bytes,
    data: EventData,
}

/// The data of the incomplete event.
#[derive(Debug, Default)]
enum EventData {
    #[default]
    Absent,
    Line(Bytes),
    Lines(BytesMut),
}

impl SseDecoder {
    /// Adds bytes.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Returns the next complete event.
    pub(crate) fn next(&mut self) -> Result<Option<SseEvent>, EventTooLong> {
        while let Some(line) = self.line()? {
            if let Some(event) = self.take_line(&line)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Returns an event at the end of the stream without its blank line. The standard drops it, but servers that omit
    /// the last line feed intend it. If it was cut off, its JSON is not valid.
    pub(crate) fn finish(&mut self) -> Result<Option<SseEvent>, EventTooLong> {
        // The rest may begin with a byte order mark or the LF of a CRLF.
        self.skip_prefixes();
        self.scanned = 0;
        let rest = self.buffer.split().freeze();
        if !rest.is_empty() {
            self.take_line(&rest)?;
        }
        Ok(self.dispatch())
    }

    fn line(&mut self) -> Result<Option<Bytes>, EventTooLong> {
        if !self.skip_prefixes() {
            return Ok(None);
        }
        let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr2(b'\n', b'\r', unscanned) else {
            self.scanned = self.buffer.len();
            return if self.scanned > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(None) };
        };
        let line = self.buffer.split_to(self.scanned + end).freeze();
        self.scanned = 0;
        self.after_cr = self.buffer.first() == Some(&b'\r');
        self.buffer.advance(1);
        if line.len() > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(Some(line)) }
    }

    /// Skips a byte order mark at the start, and the LF of a CRLF. Returns false if more bytes are needed to decide.
    fn skip_prefixes(&mut self) -> bool {
        const BOM: &[u8] = b"\xEF\xBB\xBF";
        if !self.started {
            if self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) {
                return false;
            }
            self.started = true;
            if self.buffer.starts_with(BOM) {
                self.buffer.advance(BOM.len());
            }
        }
        if self.after_cr {
            match self.buffer.first() {
                None => return false,
                Some(b'\n') => self.buffer.advance(1),
                Some(_) => {}
            }
            self.after_cr = false;
        }
        true
    }

    fn take_line(&mut self, line: &Bytes) -> Result<Option<SseEvent>, EventTooLong> {
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let colon = memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = line.slice_ref(value.strip_prefix(b" ").unwrap_or(value));
        match line.get(..colon) {
            Some(b"data") => self.add_data(value)?,
            Some(b"event") => self.name = value,
            // `id` and `retry` are for reconnection, which no provider offers for a POST. The standard ignores others.
            _ => {}
        }
        Ok(None)
    }

    fn add_data(&mut self, value: Bytes) -> Result<(), EventTooLong> {
        let mut joined = match std::mem::take(&mut self.data) {
            EventData::Absent => {
                self.data = EventData::Line(value);
                return Ok(());
            }
            EventData::Line(first) => BytesMut::from(first),
            EventData::Lines(joined) => joined,
        };
        if joined.len() + value.len() >= MAX_EVENT_BYTES {
            return Err(EventTooLong);
        }
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(&value);
        self.data = EventData::Lines(joined);
        Ok(())
    }

    /// Ends the event. The standard discards an event without data.
    fn dispatch(&mut self) -> Option<SseEvent> {
        let name = std::mem::take(&mut self.name);
        let data = match std::mem::take(&mut self.data) {
            EventData::Absent => return None,
            EventData::Line(line) => line,
            EventData::Lines(joined) => joined.freeze(),
        };
        Some(SseEvent { name, data })
    }
}

#[cfg(test)]
mod tests;
