//! What a fault does, and where in an answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::kinds::{Framing, ReplyFault, ResponseEnd, TerminalMarkers, ToolDeltas, UsageFault};

/// A place in an answer. Without any of these it is the beginning of the body; a place beyond the
/// end is the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InjectionPoint {
    /// After the request was read, before any byte of an answer.
    pub before_headers: bool,
    /// After this many server-sent events of any kind.
    pub after_events: Option<usize>,
    /// After this many events that carry text, thinking or a piece of a tool call.
    pub after_deltas: Option<usize>,
    /// After this many bytes of the body.
    pub after_bytes: Option<usize>,
    /// This many milliseconds after the headers.
    pub after_ms: Option<u64>,
    /// In the middle of the first tool call's arguments.
    pub mid_arguments: bool,
}

/// What happens. Fields of different layers may be combined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultAction {
    /// Answer with this status and the vendor's error body for it. With `error`, an error under a
    /// status of one's choice: 200 dresses it up as success.
    pub status: Option<u16>,
    /// Answer with the error of this name: `OpenAI`'s code or Anthropic's type. Known besides the
    /// vendor's own: `enforced_spend_limit_reached`, `credit_balance_too_low`,
    /// `spend_limit_reached`, `prompt_too_long` (Anthropic).
    pub error: Option<String>,
    /// Headers to set; a name that stands here twice is sent twice.
    pub headers: Vec<(String, String)>,
    /// Answer with this text as the body, as it is.
    pub body: Option<String>,
    /// Answer with an HTML page of about this many bytes.
    pub html_bytes: Option<usize>,
    /// Announce this `content-length`, whatever the body has.
    pub content_length: Option<u64>,
    /// Send the body as gzip (stored, not compressed).
    pub gzip: bool,

    /// Change what the model says.
    pub say: Option<ReplyFault>,

    /// Tell the usage wrongly. The ledger of truth keeps the right numbers.
    pub usage: Option<UsageFault>,
    /// Cut and label tool-call deltas as some servers do. Chat Completions only.
    pub tool_deltas: Option<ToolDeltas>,
    /// Change how the stream ends.
    pub markers: Option<TerminalMarkers>,

    /// Write the events in an unusual but legal form, or in an illegal one.
    pub framing: Vec<Framing>,

    /// At the place: an error event in the dialect's form, by the name of the error.
    pub sse_error: Option<String>,
    /// At the place: silence of this length.
    #[serde(with = "humantime_serde")]
    pub stall: Option<Duration>,
    /// From the place on: one byte each time this span has passed.
    #[serde(with = "humantime_serde")]
    pub drip: Option<Duration>,
    /// From the place on: nothing but SSE comments, one each time this span has passed.
    #[serde(with = "humantime_serde")]
    pub comments: Option<Duration>,
    /// From the place on: nothing but `ping` events, one each time this span has passed. In Chat
    /// Completions, which has none, these are chunks with an empty delta.
    #[serde(with = "humantime_serde")]
    pub pings: Option<Duration>,
    /// At the place, after all of the above: how the answer ends instead of going on. An error
    /// event ends the stream cleanly if nothing is said here.
    pub then: Option<ResponseEnd>,
}
