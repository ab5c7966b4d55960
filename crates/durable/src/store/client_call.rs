//! Calls of tools that the client runs.

use std::fmt;

use brigade_core::{Part, RawJson, RunId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{NewSignal, Signal, SignalKind};

/// A call of a tool that the client runs. Its run waits for the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientCall {
    /// The id under which the client sends the result. It cannot be guessed, has at most 40 of `A-Z`, `a-z`, `0-9` and `_`,
    /// and is the same each time that the call is read.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// The arguments, which match the schema of the tool.
    pub arguments: RawJson,
    /// The path of the call within the run.
    pub path: String,
    /// After this time, by the store's clock, the call fails without the client's result.
    pub expires_at: Timestamp,
}

/// The result of a call that the client made.
///
/// ```
/// use brigade_durable::ClientResult;
///
/// let result = ClientResult::text("call_1", "The door is open.");
/// assert!(!result.is_error);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientResult {
    /// The id of the call.
    pub id: String,
    /// Text and images for the model.
    pub content: Vec<Part>,
    /// Whether the call failed. The content then says why.
    pub is_error: bool,
}

impl ClientCall {
    pub(crate) fn new(
        IssuedCall { id, expires_at }: IssuedCall,
        tool: impl Into<String>,
        arguments: RawJson,
        path: impl Into<String>,
    ) -> Self {
        Self { id, tool: tool.into(), arguments, path: path.into(), expires_at }
    }
}

impl ClientResult {
    /// A result with these parts.
    pub fn new(id: impl Into<String>, content: Vec<Part>) -> Self {
        Self { id: id.into(), content, is_error: false }
    }

    /// A result of text.
    pub fn text(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(id, vec![Part::text(text)])
    }

    /// Sets whether the call failed.
    #[must_use]
    pub fn error(self, is_error: bool) -> Self {
        Self { is_error, ..self }
    }

    /// The signal that carries it. A result has its call's id as key, so that it is stored once.
    pub(crate) fn signal(&self) -> Result<NewSignal, serde_json::Error> {
        let payload = RawJson::of(self)?;
        Ok(NewSignal::new(SignalKind::ToolResult, payload).key(&*self.id))
    }

    /// The result that a signal carries, if it is that of the call with this id.
    pub(crate) fn of(signal: &Signal, id: &str) -> Option<Self> {
        let is_result = signal.kind == SignalKind::ToolResult;
        let result = is_result.then(|| serde_json::from_str::<Self>(signal.payload.get()).ok())??;
        (result.id == id).then_some(result)
    }
}

/// The id of a call, as the journal keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IssuedCall {
    pub(crate) id: String,
    pub(crate) expires_at: Timestamp,
}

/// The name of the step that records an [`IssuedCall`].
pub(crate) const ISSUE_STEP: &str = "client_call";

/// The name of the step that records that a call has expired.
pub(crate) const EXPIRY_STEP: &str = "expired";

/// The id of a run and a random number, in the characters that all providers take in the id of a call. 40 characters in all,
/// because OpenAI refuses longer ones.
pub(crate) struct CallId;

const PREFIX: &str = "call_";
/// Digits, so that the first characters of an id say when its run began.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The fewest digits for each id of a run.
const RUN_DIGITS: usize = 22;
/// 77 bits.
const RANDOM_DIGITS: usize = 13;

impl CallId {
    /// A new id for a call of this run.
    pub(crate) fn issue(run: RunId) -> String {
        let mut id = PREFIX.to_owned();
        push_digits(&mut id, run.uuid().as_u128(), RUN_DIGITS);
        push_digits(&mut id, Uuid::new_v4().as_u128(), RANDOM_DIGITS);
        id
    }

    /// The run that an id names; absent if it is not an id of ours. The id may still be forged.
    pub(crate) fn run(id: &str) -> Option<RunId> {
        let digits = id.strip_prefix(PREFIX)?;
        if digits.len() != RUN_DIGITS + RANDOM_DIGITS {
            return None;
        }
        let mut number = 0_u128;
        for digit in digits.as_bytes().get(..RUN_DIGITS)? {
            let value = ALPHABET.iter().position(|known| known == digit)?;
            number = number.checked_mul(62)?.checked_add(u128::try_from(value).ok()?)?;
        }
        Some(RunId::from(Uuid::from_u128(number)))
    }
}

/// Appends the lowest `count` digits of a number.
fn push_digits(text: &mut String, mut number: u128, count: usize) {
    let start = text.len();
    for _ in 0..count {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        text.insert(start, char::from(ALPHABET.get(digit).copied().unwrap_or(b'0')));
        number /= 62;
    }
}

impl fmt::Display for ClientCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.tool, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_run_and_cannot_be_guessed() {
        for run in [Uuid::nil(), Uuid::max(), Uuid::now_v7()].map(RunId::from) {
            let id = CallId::issue(run);
            assert_eq!((id.len(), CallId::run(&id)), (40, Some(run)));
            assert_ne!(CallId::issue(run), id);
        }
    }

    #[test]
    fn the_ids_of_other_programs_are_not_taken_for_ours() {
        let ours = CallId::issue(RunId::new());
        let longer = format!("{ours}0");
        for id in ["", "call_", "call_abc", "toolu_01", &ours[1..], &ours[..39], &longer, &ours.replace('_', "-")] {
            assert_eq!(CallId::run(id), None, "{id}");
        }
        assert_eq!(CallId::run(&format!("call_{}", "z".repeat(35))), None, "it is not a number with 128 bits");
        assert_eq!(CallId::run(&format!("call_{}", "é".repeat(35))), None);
    }
}
