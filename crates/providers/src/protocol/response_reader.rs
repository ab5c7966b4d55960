//! Reads one response, which may be a stream, a document or an error.

use std::borrow::Cow;

use brigade_core::{ChatReply, ModelError, ModelErrorKind, ModelId, RetryAdvice};
use bytes::{Buf, Bytes, BytesMut};

use super::{
    event_sink::EventSink,
    finished_reply,
    protocol::{Completeness, Progress, ReplyDecoder, WireQuirk},
};
use crate::{
    http::{
        account::MAX_BODY_BYTES,
        provider_error::{self, MAX_ERROR_BYTES},
        response_head::ResponseHead,
        sse::{SseDecoder, SseEvent},
    },
    json::repair,
};

/// The most bytes of a stream, with the envelope around each delta.
const MAX_STREAM_BYTES: usize = 1 << 30;
/// The part of an event that does not count towards the length of the answer. The envelope around a delta takes some 300
/// bytes, more with log probabilities.
const ENVELOPE_BYTES: usize = 2 << 10;

/// Reads the bytes of one response as they arrive, and adds the head of the response to the reply or error.
#[derive(Debug)]
pub(crate) struct ResponseReader<'a, D> {
    model: &'a ModelId,
    head: ResponseHead,
    sink: EventSink<'a>,
    reply: D,
    stream_requested: bool,
    body: BodyKind,
    received_bytes: usize,
    /// The part of `received_bytes` that is not text of the answer but the envelopes of events.
    envelope_bytes: usize,
    /// True once the terminal marker was read. Later bytes are not a part of the answer.
    done: bool,
    /// True if a document had to be repaired before it could be parsed.
    repaired: bool,
}

/// The form of the body.
#[derive(Debug)]
enum BodyKind {
    /// The bytes received so far could begin a stream or a document.
    Unknown(Bytes),
    /// A stream of events.
    Stream(SseDecoder),
    /// One document, or an error.
    Document(Bytes),
}

impl<'a, D: ReplyDecoder> ResponseReader<'a, D> {
    pub(crate) fn new(model: &'a ModelId, head: ResponseHead, sink: EventSink<'a>, reply: D) -> Self {
        let success = head.status.is_success();
        let body = if success { BodyKind::Unknown(Bytes::new()) } else { BodyKind::Document(Bytes::new()) };
        let stream_requested = sink.wants_deltas();
        let mut reader = Self {
            model,
            head,
            sink,
            reply,
            stream_requested,
            body,
            received_bytes: 0,
            envelope_bytes: 0,
            done: false,
            repaired: false,
        };
        if reader.head.retry_after_rejected {
            reader.sink.quirk(WireQuirk::RetryAfterRejected);
        }
        reader
    }

    /// Reads the next bytes of the body.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Progress, ModelError> {
        self.received_bytes += chunk.len();
        if !self.head.status.is_success() {
            return Ok(self.push_failure(chunk));
        }
        let progress = match &mut self.body {
            BodyKind::Document(document) => {
                append(document, chunk);
                Progress::More
            }
            BodyKind::Stream(events) => {
                events.push(&chunk);
                self.read_events()?
            }
            BodyKind::Unknown(start) => {
                append(start, chunk);
                self.detect_kind()?
            }
        };
        let answer_bytes = self.received_bytes.saturating_sub(self.envelope_bytes) + self.sink.answer_bytes();
        if progress == Progress::More && (answer_bytes > MAX_BODY_BYTES || self.received_bytes > MAX_STREAM_BYTES) {
            return Err(self.with_head(too_long(format!("the answer is longer than {MAX_BODY_BYTES} bytes"))));
        }
        Ok(progress)
    }

    /// Whether the answer is complete but for its terminal marker.
    pub(crate) fn completeness(&self) -> Completeness {
        match self.body {
            BodyKind::Stream(_) => self.reply.completeness(),
            BodyKind::Unknown(_) | BodyKind::Document(_) => Completeness::Partial,
        }
    }

    /// Returns the reply after the end of the body or the terminal marker.
    pub(crate) fn finish(&mut self) -> Result<ChatReply, ModelError> {
        match self.decode_reply() {
            Ok(reply) => Ok(self.complete(reply)),
            Err(error) => Err(self.with_head(error)),
        }
    }

    /// Handles a broken connection. That is an error, unless only the end of the stream is missing.
    pub(crate) fn cut(
        &mut self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<ChatReply, ModelError> {
        if !self.head.status.is_success() {
            return self.finish();
        }
        if let BodyKind::Stream(_) = self.body
            && let Ok(reply) = self.decode_reply()
        {
            self.sink.quirk(WireQuirk::CutAfterEnd);
            return Ok(self.complete(reply));
        }
        let message = format!("the connection broke after {} bytes of the answer", self.received_bytes);
        Err(self.with_head(broken(message).caused_by(cause)))
    }

    fn push_failure(&mut self, chunk: Bytes) -> Progress {
        if let BodyKind::Document(page) = &mut self.body {
            append(page, chunk);
        }
        if self.received_bytes < MAX_ERROR_BYTES { Progress::More } else { Progress::Done }
    }

    /// Content types are often wrong or missing, so the first bytes decide what the body is.
    fn detect_kind(&mut self) -> Result<Progress, ModelError> {
        let BodyKind::Unknown(start) = &mut self.body else { return Ok(Progress::More) };
        // Leading blanks are dropped, so that megabytes of them are not scanned again with every chunk.
        start.advance(start.len() - start.trim_ascii_start().len());
        match framing(start) {
            None => Ok(Progress::More),
            Some(Framing::Document) => {
                self.body = BodyKind::Document(std::mem::take(start));
                Ok(Progress::More)
            }
            Some(Framing::Events) => {
                let mut events = SseDecoder::default();
                events.push(start);
                self.body = BodyKind::Stream(events);
                self.read_events()
            }
        }
    }

    fn read_events(&mut self) -> Result<Progress, ModelError> {
        loop {
            let BodyKind::Stream(events) = &mut self.body else { return Ok(Progress::More) };
            let result = match events.next() {
                Ok(Some(event)) => self.read_event(event),
                Ok(None) => return Ok(Progress::More),
                Err(event_too_long) => Err(broken(event_too_long.to_string())),
            };
            match result {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => {
                    self.done = true;
                    return Ok(Progress::Done);
                }
                Err(error) => return Err(self.with_head(error)),
            }
        }
    }

    /// Decodes one event. Data that cannot be a part of the answer is skipped, in the same way for all protocols.
    fn read_event(&mut self, event: SseEvent) -> Result<Progress, ModelError> {
        let field_bytes = b"event: \ndata: \n\n\r\r\r".len();
        self.envelope_bytes += (event.name.len() + event.data.len() + field_bytes).min(ENVELOPE_BYTES);
        let data = event.data.trim_ascii();
        if data.is_empty() {
            self.sink.quirk(WireQuirk::EmptyEvent);
            return Ok(Progress::More);
        }
        if matches!(data, b"[DONE]" | b"\"[DONE]\"") {
            return Ok(self.reply.end_marker());
        }
        let name = std::str::from_utf8(&event.name).unwrap_or_default();
        let document = match repair::document(data) {
            Some(Cow::Borrowed(document)) => event.data.slice_ref(document),
            Some(Cow::Owned(document)) => {
                self.report_repair();
                document.into()
            }
            None if name == "error" => return Err(provider_error::in_stream(data)),
            None if self.reply.carries_answer(name) && data.starts_with(b"{") => {
                return Err(broken("an event of the stream is not a complete JSON document".into()));
            }
            None => Bytes::new(),
        };
        match document.first() {
            Some(b'{') => self.reply.event(&SseEvent { name: event.name, data: document }, &mut self.sink),
            _ if name == "error" || provider_error::is_error(&document) => Err(provider_error::in_stream(&document)),
            _ => {
                self.sink.quirk(WireQuirk::UnknownEvent);
                Ok(Progress::More)
            }
        }
    }

    fn decode_reply(&mut self) -> Result<ChatReply, ModelError> {
        let is_stream = matches!(self.body, BodyKind::Stream(_));
        if self.head.status.is_success() && is_stream != self.stream_requested {
            self.sink.quirk(WireQuirk::OtherFraming);
        }
        let document = match &mut self.body {
            BodyKind::Stream(events) => {
                let last = if self.done { None } else { events.finish().map_err(|long| broken(long.to_string()))? };
                // A last event that was cut off is ignored if the answer was complete without it.
                if let Some(last) = last
                    && let Err(error) = self.read_event(last)
                    && self.reply.completeness() == Completeness::Partial
                {
                    return Err(error);
                }
                return self.reply.finish(&mut self.sink);
            }
            BodyKind::Unknown(body) | BodyKind::Document(body) => std::mem::take(body),
        };
        if !self.head.status.is_success() {
            return Err(provider_error::from_response(&self.head, &document));
        }
        let plain = repair::trimmed(&document);
        if !repair::has_surrogates(plain) {
            // To find out whether a document is JSON takes as long as to read it, and almost all are.
            let result = self.reply.body(plain, &mut self.sink);
            if result.is_ok() || repair::is_json(plain) {
                return result;
            }
        }
        match repair::document(&document) {
            Some(Cow::Borrowed(document)) => self.reply.body(document, &mut self.sink),
            Some(Cow::Owned(document)) => {
                self.report_repair();
                self.reply.body(&document, &mut self.sink)
            }
            None => Err(provider_error::not_json(&document)),
        }
    }

    fn report_repair(&mut self) {
        self.repaired = true;
        self.sink.quirk(WireQuirk::Repaired);
    }

    fn complete(&mut self, mut reply: ChatReply) -> ChatReply {
        reply.request_id = self.head.request_id.take().or(reply.request_id);
        reply.limits = std::mem::take(&mut self.head.limits);
        if reply.model.is_empty() {
            reply.model = self.model.model().to_string();
        }
        if reply.usage.is_none() {
            self.sink.quirk(WireQuirk::UsageMissing);
        }
        self.sink.finish();
        finished_reply::complete(reply, self.repaired, &mut self.sink)
    }

    /// Adds to an error what the head of the response says, and the usage received so far.
    fn with_head(&self, error: ModelError) -> ModelError {
        error.with(|failure| {
            failure.model.get_or_insert_with(|| self.model.clone());
            failure.status = Some(self.head.status.as_u16());
            if self.head.request_id.is_some() {
                failure.request_id.clone_from(&self.head.request_id);
            }
            if failure.limits.is_empty() {
                failure.limits = self.head.limits.clone();
            }
            failure.usage = failure.usage.or_else(|| self.reply.usage());
            failure.sent = true;
        })
    }
}

/// Appends a chunk. Most documents arrive in one chunk, which is kept without a copy.
fn append(bytes: &mut Bytes, chunk: Bytes) {
    if bytes.is_empty() {
        *bytes = chunk;
    } else {
        let mut joined = BytesMut::from(std::mem::take(bytes));
        joined.extend_from_slice(&chunk);
        *bytes = joined.freeze();
    }
}

/// How a body is framed.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Events,
    Document,
}

/// Distinguishes a stream from a document by the first bytes that are not blank, once there are enough. Blanks alone
/// are the heartbeat of a server whose model is still working (OpenRouter sends them before documents too).
fn framing(start: &[u8]) -> Option<Framing> {
    const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b":", b"id:", b"retry:"];
    let start = start.trim_ascii_start();
    let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
    if FIELDS.iter().any(|field| start.starts_with(field)) {
        return Some(Framing::Events);
    }
    let undecided = FIELDS.iter().any(|field| field.starts_with(start)) || b"\xEF\xBB\xBF".starts_with(start);
    (!undecided).then_some(Framing::Document)
}

/// An error that forbids a retry: the same request would produce, and cost, an answer of the same length again.
fn too_long(message: String) -> ModelError {
    broken(message).with(|failure| failure.retry = RetryAdvice::Never)
}

fn broken(message: String) -> ModelError {
    ModelError::new(ModelErrorKind::Broken, message)
}
