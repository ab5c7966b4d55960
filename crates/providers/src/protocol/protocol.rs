//! The interface of a wire protocol, and the events that it reports while it decodes an answer.
//!
//! A protocol is a folder with a marker type that implements [`Protocol`], `wire.rs` (lenient serde structs), `encode.rs`
//! (from a [`ModelRequest`] to bytes) and `decode.rs` (a [`ReplyDecoder`]).
//!
//! The response reader handles everything that all protocols have in common: it distinguishes a stream from a single document, turns
//! HTTP failures into errors, limits sizes, and adds to replies and errors what the head of the response says (model,
//! status, request id, rate limits) and the usage received so far.

use std::{borrow::Cow, fmt};

use brigade_core::{ChatReply, ChatRequest, ModelError, ModelErrorKind, ProviderData, Settings, Usage};
use http::HeaderName;

use super::{event_sink::EventSink, maker::Maker, parameters::SettingLimits};
use crate::http::sse::SseEvent;

/// A wire protocol. The value holds the differences between the servers that speak it.
///
/// Only this crate can implement it, because decoders report to types that are not public: a new protocol is a folder of
/// this crate. The trait is public so that [`Client`](crate::Client) can be named for any of them.
pub trait Protocol: fmt::Debug + Clone + Send + Sync + 'static {
    /// Decodes one answer.
    type Decoder: ReplyDecoder;

    /// The header in which the vendor accepts the client's own request id, if there is one.
    const CLIENT_REQUEST_ID: Option<HeaderName>;

    /// The endpoint of `model`, relative to the base URL. May have a query.
    fn path(&self, model: &str) -> Cow<'static, str>;

    /// An endpoint for free GET requests, relative to the base URL.
    fn probe_path(&self) -> Cow<'static, str>;

    /// The default answer limit of `model`, for a protocol that requires one: [`Settings::answer_tokens`].
    fn answer_tokens(&self, model: &str) -> Option<u32>;

    /// The names of settings that `model` refuses, or that the protocol has no field for. Requests are sent without them.
    fn refused(&self, model: &str, settings: &Settings) -> Vec<&'static str>;

    /// The largest values that the server takes. Requests are sent with these in place of larger ones.
    fn limits(&self) -> SettingLimits;

    /// Whether only the account, and the family of models, that made this part of an answer can read it.
    fn is_private(&self, data: &ProviderData) -> bool;

    /// Encodes the body of a request. The same request always gives the same bytes, because prompt caches compare
    /// them.
    fn encode(&self, request: &ModelRequest<'_>) -> Result<Vec<u8>, ModelError>;

    /// Creates a decoder for one answer.
    fn decoder(&self) -> Self::Decoder;
}

/// Decodes one answer from the events of a stream or from a single document.
pub trait ReplyDecoder: Send {
    /// Whether an event with this name may carry a part of the answer. If not, one that is not JSON is skipped.
    fn carries_answer(&self, event_name: &str) -> bool;

    /// Decodes the next event, whose data is a JSON object. Returns an error that the provider reports inside the stream
    /// as `Err`.
    fn event(&mut self, event: &SseEvent, sink: &mut EventSink<'_>) -> Result<Progress, ModelError>;

    /// Handles `[DONE]`, which ends a stream of Chat Completions, and which gateways send in other protocols too.
    fn end_marker(&mut self) -> Progress;

    /// How much of the answer was received, apart from the terminal marker.
    fn completeness(&self) -> Completeness;

    /// Returns the answer once the stream has ended. Without a terminal marker this is an error of kind `Broken`.
    fn finish(&mut self, sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError>;

    /// Decodes an answer that is one document. Changes nothing if `body` is not JSON.
    fn body(&mut self, body: &[u8], sink: &mut EventSink<'_>) -> Result<ChatReply, ModelError>;

    /// The usage reported so far. It was spent even if the answer is never completed.
    fn usage(&self) -> Option<Usage>;
}

/// A chat request with its settings merged, ready to be encoded.
#[derive(Debug, Clone, Copy)]
pub struct ModelRequest<'a> {
    /// The model's name as the provider knows it.
    pub model: &'a str,
    /// The request. Use [`ModelRequest::settings`] in place of its own settings.
    pub chat: &'a ChatRequest,
    /// The request's settings over the model's defaults.
    pub settings: &'a Settings,
    /// Whether the answer should come as a stream.
    pub stream: bool,
    /// The account and family of the model. Data of other makers is left out.
    pub maker: Maker,
}

/// Whether a decoder needs more of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The answer is not complete.
    More,
    /// The terminal marker was read.
    Done,
}

/// How much of a streamed answer is known before its terminal marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// A part of it.
    Partial,
    /// All of it but the usage, which some servers never send.
    WithoutUsage,
    /// All of it.
    Complete,
}

/// A tolerated departure from the documented form. A closed set, because the names are metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireQuirk {
    /// An event with an unknown name; skipped.
    UnknownEvent,
    /// An event without data; skipped.
    EmptyEvent,
    /// Odd characters or numbers, such as half a character or `NaN`; repaired.
    Repaired,
    /// Reasoning between tags in the text of the answer; separated from it.
    ThinkTags,
    /// A content part or output item of an unknown type; kept as opaque data where possible.
    UnknownPart,
    /// An unknown stop reason.
    UnknownStop,
    /// The stream has an end marker but no stop reason.
    StopMissing,
    /// The stream has a stop reason but no end marker.
    EndMarkerMissing,
    /// The stream broke off after the answer was complete.
    CutAfterEnd,
    /// The stop reason came twice.
    StopRepeated,
    /// The stop reason contradicts the answer, for example because the arguments of a tool call are cut off.
    StopMismatch,
    /// A stream was requested and one document received, or the other way round.
    OtherFraming,
    /// The answer has no usage.
    UsageMissing,
    /// The usage is impossible: negative, fractional, or with parts larger than the whole.
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
    /// Tool arguments that are not a JSON document.
    ArgumentsMalformed,
    /// Content as a list where a string is documented.
    ContentForm,
    /// A `retry-after` that is not a duration or date; treated as absent.
    RetryAfterRejected,
}

impl WireQuirk {
    /// A stable name for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownEvent => "unknown_event",
            Self::EmptyEvent => "empty_event",
            Self::Repaired => "repaired",
            Self::ThinkTags => "think_tags",
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
