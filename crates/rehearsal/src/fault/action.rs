//! The actions of faults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::kinds::{Framing, ReplyFault, ResponseEnd, TerminalMarkers, ToolDeltas, UsageFault};

/// A place in an answer. By default it is the start of the body. A place beyond the end is the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct InjectionPoint {
    /// After the request was read, before the headers of the answer.
    pub before_headers: bool,
    /// After this many server-sent events of any kind.
    pub after_events: Option<usize>,
    /// After this many events with text, thinking or a piece of a tool call.
    pub after_deltas: Option<usize>,
    /// After this many bytes of the body.
    pub after_bytes: Option<usize>,
    /// This many milliseconds after the headers.
    pub after_ms: Option<u64>,
    /// In the middle of the first tool call's arguments.
    pub mid_arguments: bool,
}

/// What a fault does. Fields of different layers can be combined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FaultAction {
    /// Answer with this status and the vendor's error body for it; a redirect has no body. With `error`, the status of that error: 200 makes the
    /// error look like a success.
    pub status: Option<u16>,
    /// Answer with the error of this name: `OpenAI`'s code or Anthropic's type. In addition to the vendors' own names:
    /// `enforced_spend_limit_reached`, `credit_balance_too_low`, `spend_limit_reached`, `prompt_too_long` (Anthropic).
    pub error: Option<String>,
    /// Headers to set. A name that occurs twice is sent twice.
    pub headers: Vec<(String, String)>,
    /// Add this many headers, as gateways do that pass on those of several services.
    pub more_headers: Option<usize>,
    /// Answer with this text as the body.
    pub body: Option<String>,
    /// Answer with an HTML page of about this many bytes.
    pub html_bytes: Option<usize>,
    /// Announce this `content-length`, whatever the length of the body.
    pub content_length: Option<u64>,
    /// Send the body as gzip (stored, not compressed).
    pub gzip: bool,

    /// Change the reply of the model.
    pub say: Option<ReplyFault>,

    /// Report wrong usage. The call log keeps the true one.
    pub usage: Option<UsageFault>,
    /// Cut and label tool-call deltas as some servers do. Chat Completions only.
    pub tool_deltas: Option<ToolDeltas>,
    /// Change how the stream ends.
    pub markers: Option<TerminalMarkers>,

    /// Write the events in unusual ways, legal or not.
    pub framing: Vec<Framing>,

    /// At the place: an error event in the form of the dialect, by the name of the error.
    pub sse_error: Option<String>,
    /// At the place: silence for this long.
    #[serde(with = "humantime_serde")]
    pub stall: Option<Duration>,
    /// From the place on: one byte per time span.
    #[serde(with = "humantime_serde")]
    pub drip: Option<Duration>,
    /// From the place on: only SSE comments, one per time span.
    #[serde(with = "humantime_serde")]
    pub comments: Option<Duration>,
    /// From the place on: only `ping` events, one per time span. Chat Completions has no pings; chunks with an empty delta
    /// are sent instead.
    #[serde(with = "humantime_serde")]
    pub pings: Option<Duration>,
    /// At the place, after everything above: how the answer ends. If it is not set, an error event ends the stream
    /// cleanly, and otherwise the answer continues.
    pub then: Option<ResponseEnd>,
}
