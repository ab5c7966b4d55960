//! Signals: messages that are addressed to a run.

use brigade_core::RawJson;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message for a run, as it is sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewSignal {
    /// The kind of message.
    pub kind: SignalKind,
    /// The content, in a form that depends on the kind.
    pub payload: RawJson,
    /// A signal with the same key and payload is the same signal, and has no second effect.
    pub key: Option<String>,
}

/// A stored message for a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Signal {
    /// Its number within the run, from 1.
    pub number: u64,
    /// The kind of message.
    pub kind: SignalKind,
    /// The content, in a form that depends on the kind.
    pub payload: RawJson,
}

/// The kind of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignalKind {
    /// The run must end.
    Cancel,
    /// A person has decided about a step.
    Decision,
    /// A client sends the result of a tool that it ran.
    ToolResult,
    /// A named signal, for which a step of the run may wait: see [`wait_for_signal`](crate::wait_for_signal).
    Message,
    /// A run that this run submitted has ended.
    ChildEnded,
}

/// The result of sending a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// It was stored, and has this number. A waiting run is ready now.
    Stored(u64),
    /// The same signal was sent before.
    Same(u64),
    /// Another signal was sent before under this key.
    Clash(u64),
    /// The run has ended.
    Ended,
    /// There is no such run.
    Unknown,
}

impl NewSignal {
    /// A signal without a key.
    pub fn new(kind: SignalKind, payload: RawJson) -> Self {
        Self { kind, payload, key: None }
    }

    /// A named signal without a key: see [`wait_for_signal`](crate::wait_for_signal).
    ///
    /// # Errors
    ///
    /// The payload cannot be written as JSON.
    pub fn named(name: &str, payload: &impl Serialize) -> Result<Self, serde_json::Error> {
        let payload = RawJson::of(&Named { name, payload })?;
        Ok(Self::new(SignalKind::Message, payload))
    }

    /// Sets the key under which the same signal may be sent again.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

impl Signal {
    /// A stored signal.
    pub fn new(number: u64, kind: SignalKind, payload: RawJson) -> Self {
        Self { number, kind, payload }
    }

    /// The payload of a [named](NewSignal::named) signal with this name.
    pub(crate) fn named(&self, name: &str) -> Option<RawJson> {
        let is_message = self.kind == SignalKind::Message;
        let named =
            is_message.then(|| serde_json::from_str::<Named<String, Box<RawValue>>>(self.payload.get()).ok())??;
        (named.name == name).then(|| RawJson::from(named.payload))
    }
}

/// The payload of a named signal.
#[derive(Debug, Serialize, Deserialize)]
struct Named<N, P> {
    name: N,
    payload: P,
}

impl SignalKind {
    /// A stable name for tables, logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Decision => "decision",
            Self::ToolResult => "tool_result",
            Self::Message => "message",
            Self::ChildEnded => "child_ended",
        }
    }
}
