//! Reads one response, which may be a stream, a document or an error.

use brigade_core::{ChatReply, ModelError, ModelErrorKind, ModelId};
use bytes::{Buf, Bytes, BytesMut};

use super::protocol::{EventSink, Progress, ReplyDecoder, WireQuirk};
use crate::http::{
    account::MAX_BODY_BYTES,
    provider_error::{self, MAX_ERROR_BYTES},
    response_head::ResponseHead,
    sse::SseDecoder,
};

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
}

/// The form of the body.
#[derive(Debug)]
enum BodyKind {
    /// The bytes received so far do not tell.
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
        let mut reader = Self { model, head, sink, reply, stream_requested, body, received_bytes: 0 };
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
        if self.received_bytes > MAX_BODY_BYTES {
            let error = broken(format!("the answer is longer than {MAX_BODY_BYTES} bytes"));
            return Err(self.with_head(error));
        }
        match &mut self.body {
            BodyKind::Document(document) => {
                append(document, chunk);
                Ok(Progress::More)
            }
            BodyKind::Stream(events) => {
                events.push(&chunk);
                self.read_events()
            }
            BodyKind::Unknown(start) => {
                append(start, chunk);
                self.detect_kind()
            }
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
        // Dropped, so that megabytes of blanks are not scanned again with every chunk.
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
        let BodyKind::Stream(events) = &mut self.body else { return Ok(Progress::More) };
        let mut result = Ok(Progress::More);
        while let Ok(Progress::More) = result {
            result = match events.next() {
                Ok(Some(event)) => self.reply.event(&event, &mut self.sink),
                Ok(None) => return Ok(Progress::More),
                Err(too_long) => Err(broken(too_long.to_string())),
            };
        }
        result.map_err(|error| self.with_head(error))
    }

    fn decode_reply(&mut self) -> Result<ChatReply, ModelError> {
        let is_stream = matches!(self.body, BodyKind::Stream(_));
        if self.head.status.is_success() && is_stream != self.stream_requested {
            self.sink.quirk(WireQuirk::OtherFraming);
        }
        match &mut self.body {
            BodyKind::Stream(events) => {
                let last = events.finish().map_err(|error| broken(error.to_string()))?;
                if let Some(event) = last {
                    self.reply.event(&event, &mut self.sink)?;
                }
                self.reply.finish(&mut self.sink)
            }
            BodyKind::Unknown(body) | BodyKind::Document(body) => {
                if !self.head.status.is_success() {
                    return Err(provider_error::from_response(&self.head, body));
                }
                let body = body.trim_ascii();
                if body.is_empty() {
                    return Err(broken("the answer is empty".into()));
                }
                self.reply.body(body, &mut self.sink)
            }
        }
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
        reply
    }

    /// Adds to an error what the head of the response says, and the usage received so far.
    fn with_head(&self, error: ModelError) -> ModelError {
        error.with(|failure| {
            failure.model.get_or_insert_with(|| self.model.clone());
            failure.status = Some(self.head.status.as_u16());
            if self.head.request_id.is_some() {
                failure.request_id.clone_from(&self.head.request_id);
            }
            failure.limits = self.head.limits.clone();
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

fn broken(message: String) -> ModelError {
    ModelError::new(ModelErrorKind::Broken, message)
}
