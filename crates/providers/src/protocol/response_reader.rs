//! Reads one response, whatever comes: a stream, a document, an error, or nonsense.

use brigade_core::{ChatReply, ModelError, ModelErrorKind, ModelId};
use bytes::{Buf, Bytes, BytesMut};

use super::protocol::{EventSink, Progress, ReplyDecoder, WireQuirk};
use crate::http::{
    account::MAX_BODY_BYTES,
    provider_error::{self, MAX_ERROR_BYTES},
    response_head::ResponseHead,
    sse::SseDecoder,
};

/// Takes the bytes of one response as they come, and ends in a reply or an error that carry all that is known.
#[derive(Debug)]
pub(crate) struct ResponseReader<'a, A> {
    model: &'a ModelId,
    head: ResponseHead,
    sink: EventSink<'a>,
    assembly: A,
    streaming_asked: bool,
    body: Body,
    received: usize,
}

/// What the body turned out to be.
#[derive(Debug)]
enum Body {
    /// Too little has arrived to tell.
    Unknown(Bytes),
    /// A stream of events.
    Events(SseDecoder),
    /// One document, or an error.
    Whole(Bytes),
}

impl<'a, A: ReplyDecoder> ResponseReader<'a, A> {
    pub(crate) fn new(model: &'a ModelId, head: ResponseHead, sink: EventSink<'a>, assembly: A) -> Self {
        let body = if head.status.is_success() { Body::Unknown(Bytes::new()) } else { Body::Whole(Bytes::new()) };
        let streaming_asked = sink.wants_deltas();
        let mut reader = Self { model, head, sink, assembly, streaming_asked, body, received: 0 };
        if reader.head.retry_after_rejected {
            reader.sink.quirk(WireQuirk::RetryAfterRejected);
        }
        reader
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Progress, ModelError> {
        self.received += chunk.len();
        if !self.head.status.is_success() {
            return Ok(self.push_failure(chunk));
        }
        if self.received > MAX_BODY_BYTES {
            let error = broken(format!("the answer is longer than {MAX_BODY_BYTES} bytes"));
            return Err(self.explained(error));
        }
        match &mut self.body {
            Body::Whole(document) => {
                append(document, chunk);
                Ok(Progress::More)
            }
            Body::Events(decoder) => {
                decoder.push(&chunk);
                self.read_events()
            }
            Body::Unknown(start) => {
                append(start, chunk);
                self.look_at_start()
            }
        }
    }

    /// The body has ended, or its terminal marker was read.
    pub(crate) fn finish(&mut self) -> Result<ChatReply, ModelError> {
        match self.end() {
            Ok(reply) => Ok(self.completed(reply)),
            Err(error) => Err(self.explained(error)),
        }
    }

    /// The connection broke. That is a failure, unless nothing but the end of the stream is missing.
    pub(crate) fn cut(
        &mut self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<ChatReply, ModelError> {
        if !self.head.status.is_success() {
            return self.finish();
        }
        if let Body::Events(_) = self.body
            && let Ok(reply) = self.end()
        {
            self.sink.quirk(WireQuirk::CutAfterEnd);
            return Ok(self.completed(reply));
        }
        let message = format!("the connection broke after {} bytes of the answer", self.received);
        Err(self.explained(ModelError::new(ModelErrorKind::Broken, message).caused_by(cause)))
    }

    fn push_failure(&mut self, chunk: Bytes) -> Progress {
        if let Body::Whole(page) = &mut self.body {
            append(page, chunk);
        }
        if self.received < MAX_ERROR_BYTES { Progress::More } else { Progress::Done }
    }

    /// Content types lie and are often missing, so the first bytes decide what the body is.
    fn look_at_start(&mut self) -> Result<Progress, ModelError> {
        let Body::Unknown(start) = &mut self.body else { return Ok(Progress::More) };
        // Dropped, so that megabytes of blanks are not looked at again with every chunk.
        start.advance(start.len() - start.trim_ascii_start().len());
        match framing(start) {
            None => Ok(Progress::More),
            Some(Framing::Document) => {
                self.body = Body::Whole(std::mem::take(start));
                Ok(Progress::More)
            }
            Some(Framing::Events) => {
                let mut decoder = SseDecoder::default();
                decoder.push(start);
                self.body = Body::Events(decoder);
                self.read_events()
            }
        }
    }

    fn read_events(&mut self) -> Result<Progress, ModelError> {
        let Body::Events(decoder) = &mut self.body else { return Ok(Progress::More) };
        let mut result = Ok(Progress::More);
        while let Ok(Progress::More) = result {
            result = match decoder.next() {
                Ok(Some(event)) => self.assembly.event(&event, &mut self.sink),
                Ok(None) => return Ok(Progress::More),
                Err(too_long) => Err(ModelError::new(ModelErrorKind::Broken, too_long.to_string())),
            };
        }
        result.map_err(|error| self.explained(error))
    }

    fn end(&mut self) -> Result<ChatReply, ModelError> {
        let streamed = matches!(self.body, Body::Events(_));
        if self.head.status.is_success() && streamed != self.streaming_asked {
            self.sink.quirk(WireQuirk::OtherFraming);
        }
        match &mut self.body {
            Body::Events(decoder) => {
                let last = decoder.finish().map_err(|error| broken(error.to_string()))?;
                if let Some(event) = last {
                    self.assembly.event(&event, &mut self.sink)?;
                }
                self.assembly.finish(&mut self.sink)
            }
            Body::Unknown(body) | Body::Whole(body) => {
                if !self.head.status.is_success() {
                    return Err(provider_error::from_response(&self.head, body));
                }
                let body = body.trim_ascii();
                if body.is_empty() {
                    return Err(broken("the answer is empty".into()));
                }
                self.assembly.body(body, &mut self.sink)
            }
        }
    }

    fn completed(&mut self, mut reply: ChatReply) -> ChatReply {
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

    /// Adds to an error all that is known about the exchange.
    fn explained(&self, error: ModelError) -> ModelError {
        error.with(|failure| {
            failure.model.get_or_insert_with(|| self.model.clone());
            failure.status = Some(self.head.status.as_u16());
            if self.head.request_id.is_some() {
                failure.request_id.clone_from(&self.head.request_id);
            }
            failure.limits = self.head.limits.clone();
            failure.usage = failure.usage.or_else(|| self.assembly.usage());
            failure.sent = true;
        })
    }
}

/// Adds to what has come. Most documents come in one piece, which is kept as it is.
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

/// Tells a stream from a document by the first bytes that are not blank, once they suffice. Blanks alone are the
/// heartbeat of a server that is still thinking (OpenRouter sends them before documents too).
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
