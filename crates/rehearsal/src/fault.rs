//! What goes wrong, as data.
//!
//! A fault is a selector (which calls), a point (where in the answer) and an action. An action may
//! touch each of four layers, from the inside out: what the model *says* ([`Say`]), the *events* it
//! is told in ([`ToolDeltas`], [`UsageLie`], [`Markers`]), the *frames* those are written as
//! ([`Framing`]), and the *wire* (silence, resets, drips). One file for each layer.

pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod head;
pub(crate) mod say;
pub(crate) mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::request::Request;
use crate::script::PlanError;

pub use events::{Markers, ToolDeltas, UsageLie};
pub use frames::Framing;
pub use say::Say;
pub use wire::Then;

/// A list of faults. The first whose selector fits a call strikes it.
///
/// ```
/// use brigade_rehearsal::FaultPlan;
///
/// let plan = FaultPlan::from_toml(r#"
///     [[fault]]
///     id    = "R13"
///     match = { agent = "researcher", call = 2, dialect = "anthropic" }
///     at    = { after_deltas = 3 }
///     do    = { sse_error = "overloaded_error", then = "close" }
///
///     [[fault]]
///     id    = "R03"
///     match = { model = "gpt-5-mini", call = 1 }
///     do    = { status = 429, headers = [["retry-after", "2"]] }
/// "#)?;
/// assert_eq!(plan.faults.len(), 2);
/// # Ok::<(), brigade_rehearsal::PlanError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// The faults, in the order in which they are tried.
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
}

impl FaultPlan {
    /// Reads a plan from TOML.
    ///
    /// # Errors
    /// If the text is not TOML or not a fault plan; the message names line and column.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        Ok(toml::from_str(text)?)
    }

    /// A plan of one fault.
    pub fn one(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Its name in the ledger of truth.
    pub id: String,
    /// The calls it strikes.
    #[serde(rename = "match")]
    pub selector: Selector,
    /// Where in the answer it strikes, for actions that have a place.
    pub at: At,
    /// What happens.
    #[serde(rename = "do")]
    pub action: Action,
}

/// Conditions on a call; those that are absent hold for every call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// The agent that asks.
    pub agent: Option<String>,
    /// The model asked for.
    pub model: Option<String>,
    /// The protocol spoken.
    pub dialect: Option<Dialect>,
    /// Whether the answer is asked for as a stream.
    pub stream: Option<bool>,
    /// Text in the last user message.
    pub last_user_contains: Option<String>,
    /// The one call to strike, among those that fit all of the above, counted from 1. Calls that are
    /// refused before they reach the model, as invalid or as too many, are not counted.
    pub call: Option<u64>,
    /// The first call to strike, counted likewise.
    pub from_call: Option<u64>,
    /// The last call to strike, counted likewise.
    pub to_call: Option<u64>,
    /// Strike only this long after the simulator was built.
    #[serde(with = "humantime_serde")]
    pub before: Option<Duration>,
    /// Strike only from this long after the simulator was built.
    #[serde(with = "humantime_serde")]
    pub after: Option<Duration>,
}

impl Selector {
    fn fits(&self, request: &Request) -> bool {
        self.agent.as_ref().is_none_or(|name| request.agent.as_ref() == Some(name))
            && self.model.as_ref().is_none_or(|model| request.model == *model)
            && self.dialect.is_none_or(|dialect| request.dialect == dialect)
            && self.stream.is_none_or(|stream| request.stream == stream)
            && self.last_user_contains.as_ref().is_none_or(|text| request.last_user.contains(text.as_str()))
    }

    fn strikes(&self, call: u64, elapsed: Duration) -> bool {
        self.call.is_none_or(|wanted| call == wanted)
            && self.from_call.is_none_or(|first| call >= first)
            && self.to_call.is_none_or(|last| call <= last)
            && self.before.is_none_or(|end| elapsed < end)
            && self.after.is_none_or(|start| elapsed >= start)
    }
}

/// A place in an answer. Without any of these it is the beginning of the body; a place beyond the
/// end is the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct At {
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
pub struct Action {
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
    pub say: Option<Say>,

    /// Tell the usage wrongly. The ledger of truth keeps the right numbers.
    pub usage: Option<UsageLie>,
    /// Cut and label tool-call deltas as some servers do. Chat Completions only.
    pub tool_deltas: Option<ToolDeltas>,
    /// Change how the stream ends.
    pub markers: Option<Markers>,

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
    pub then: Option<Then>,
}

/// A plan in use, with its counters.
#[derive(Debug)]
pub(crate) struct Armed {
    faults: Vec<(Fault, AtomicU64)>,
}

impl Armed {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let counted = |fault| (fault, AtomicU64::new(0));
        Self { faults: plan.faults.into_iter().map(counted).collect() }
    }

    /// The fault that strikes this call. Every fault whose selector fits counts the call, whether
    /// it strikes or not.
    pub(crate) fn strike(&self, request: &Request, elapsed: Duration) -> Option<&Fault> {
        let mut found = None;
        for (fault, counter) in &self.faults {
            if !fault.selector.fits(request) {
                continue;
            }
            let call = counter.fetch_add(1, Ordering::Relaxed) + 1;
            if found.is_none() && fault.selector.strikes(call, elapsed) {
                found = Some(fault);
            }
        }
        found
    }
}
