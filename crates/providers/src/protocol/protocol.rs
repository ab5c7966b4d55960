//! What a wire protocol must say about itself, and what it reports while it reads an answer.
//!
//! A protocol is a folder of four files: `mod.rs` (its marker type, which implements [`Protocol`], and the constructors
//! of its client), `wire.rs` (lenient serde structs), `encode.rs` (a [`ModelRequest`] becomes bytes) and `decode.rs` (bytes
//! become a reply, through an [`ReplyDecoder`]); what would make one of them long has a file of its own beside it.
//!
//! What a protocol need not care about, because [`crate::reader`] does it for all: telling a stream from a single
//! document, HTTP failures, caps on size, and filling in what the head of the response says (model asked, status,
//! request id, limits) and the usage seen so far, in replies and errors alike.

use std::{borrow::Cow, fmt, sync::Arc};

use brigade_core::{ChatReply, ChatRequest, Delta, Event, ModelError, ModelErrorKind, Run, Settings, Usage};
use http::{HeaderMap, HeaderName};

use crate::http::sse::SseEvent;

/// One wire protocol. The value carries what distinguishes servers that speak it.
pub trait Protocol: fmt::Debug + Clone + Send + Sync + 'static {
    /// Reads one answer.
    type Decoder: ReplyDecoder;

    /// The header in which this protocol's vendor accepts the caller's own id of a request, if it does.
    const CLIENT_REQUEST_ID: Option<HeaderName>;

    /// The endpoint of `model`, relative to the base URL; a query is allowed.
    fn path(&self, model: &str) -> Cow<'static, str>;

    /// An endpoint that costs nothing to GET, relative to the base URL.
    fn probe_path(&self) -> Cow<'static, str>;

    /// Room for the answer of `model` where nobody limits it, for a protocol that must send a limit:
    /// [`Settings::answer_tokens`].
    fn answer_tokens(&self, model: &str) -> Option<u32>;

    /// The body of the request: deterministic, and without building a tree of what was said before.
    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError>;

    /// Adds headers that depend on the question.
    fn headers(&self, request: &ModelRequest<'_>, headers: &mut HeaderMap);

    /// Begins to read an answer.
    fn decoder(&self) -> Self::Decoder;
}

/// Puts one answer together from the events of a stream, or reads it from a single document.
pub trait ReplyDecoder: Send {
    /// Takes the next event. An error reported by the provider is an `Err` (see [`crate::provider_error::in_band`]).
    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError>;

    /// The whole answer, once the stream has ended. Without a terminal marker this is a failure of kind `Broken`.
    fn finish(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError>;

    /// Reads an answer that came as one document.
    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError>;

    /// The tokens reported so far; they were spent even if the answer never gets whole.
    fn usage(&self) -> Option<Usage>;
}

/// One question, ready to be encoded.
#[derive(Debug, Clone, Copy)]
pub struct ModelRequest<'a> {
    /// The model's name as the provider knows it.
    pub model: &'a str,
    /// What is asked. Its settings are not to be read: [`ModelRequest::settings`] has them merged.
    pub chat: &'a ChatRequest,
    /// The request's settings over the model's defaults.
    pub settings: &'a Settings,
    /// Whether the answer should come as a stream.
    pub stream: bool,
}

/// Whether more is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The answer goes on.
    More,
    /// The terminal marker was read; what follows is of no interest.
    Done,
}

/// Where an assembly reports what happens on the way.
#[derive(Debug)]
pub struct EventSink<'a> {
    run: &'a Run,
    provider: &'a Arc<str>,
    seen: u64,
}

impl<'a> EventSink<'a> {
    pub(crate) fn new(run: &'a Run, provider: &'a Arc<str>) -> Self {
        Self { run, provider, seen: 0 }
    }

    /// Whether a stream was asked for.
    pub(crate) fn wants_deltas(&self) -> bool {
        self.run.wants_deltas()
    }

    /// A piece of the answer has arrived; built only if somebody listens.
    pub fn delta(&mut self, delta: impl FnOnce() -> Delta) {
        self.run.emit_delta(delta);
    }

    /// The response departs from the documented form. Each kind is reported once per response, so that an unknown
    /// event repeated a thousand times does not drown the rest.
    pub fn quirk(&mut self, quirk: WireQuirk) {
        let bit = 1 << quirk as u32;
        if self.seen & bit == 0 {
            self.seen |= bit;
            self.run.emit(&Event::WireQuirk { provider: Arc::clone(self.provider), kind: quirk.name().into() });
        }
    }
}

/// A departure from the documented form that was read all the same. A closed set: the names are metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireQuirk {
    /// An event of a name that is not known; skipped.
    UnknownEvent,
    /// A content part or output item of a type that is not known; kept as opaque data where possible.
    UnknownPart,
    /// A stop reason that is not known.
    UnknownStop,
    /// The end of the stream was marked, but no stop reason was given.
    StopMissing,
    /// A stop reason was given, but the stream ended without its end marker.
    EndMarkerMissing,
    /// The stream broke off after the answer was complete.
    CutAfterEnd,
    /// The stop reason came twice.
    StopRepeated,
    /// The stop reason says that tools are called, or that all was said, but the arguments are cut off.
    StopMismatch,
    /// A stream was asked for and one document came, or the other way round.
    OtherFraming,
    /// The answer came without usage.
    UsageMissing,
    /// The usage cannot be right: negative, fractional, or parts larger than their whole.
    UsageImplausible,
    /// A tool call without an id.
    CallIdMissing,
    /// Two tool calls with one id in one answer.
    CallIdRepeated,
    /// A tool call delta without an index.
    CallIndexMissing,
    /// Two tool calls under one index.
    CallIndexShared,
    /// Tool arguments that are an object where a string is documented, or the other way round.
    ArgumentsForm,
    /// Tool arguments that are no JSON document.
    ArgumentsMalformed,
    /// Content as a list where a string is documented.
    ContentForm,
    /// A `retry-after` that makes no sense; treated as absent.
    RetryAfterRejected,
}

impl WireQuirk {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownEvent => "unknown_event",
            Self::UnknownPart => "unknown_part",
            Self::UnknownStop => "unknown_stop",
            Self::StopMissing => "stop_missing",
            Self::EndMarkerMissing => "end_marker_missing",
            Self::CutAfterEnd => "cut_after_end",
            Self::StopRepeated => "stop_repeated",
            Self::StopMismatch => "stop_mismatch",
            Self::OtherFraming => "other_framing",
            Self::UsageMissing => "usage_missing",
            Self::UsageImplausible => "usage_implausible",
            Self::CallIdMissing => "call_id_missing",
            Self::CallIdRepeated => "call_id_repeated",
            Self::CallIndexMissing => "call_index_missing",
            Self::CallIndexShared => "call_index_shared",
            Self::ArgumentsForm => "arguments_form",
            Self::ArgumentsMalformed => "arguments_malformed",
            Self::ContentForm => "content_form",
            Self::RetryAfterRejected => "retry_after_rejected",
        }
    }
}

/// An error of a request that a protocol cannot express.
pub(crate) fn caller_error(message: impl Into<String>) -> ModelError {
    ModelError::new(ModelErrorKind::Caller, message)
}
