//! The layer of events: what is told, and in which.

use serde::{Deserialize, Serialize};

use crate::reply::{Event, Kind, Reply};
use crate::request::Request;
use crate::usage::{Place, Told};

/// How tool-call deltas of Chat Completions may be cut and labelled. All of these were seen on
/// compatible servers, save `interleaved`, which the format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolDeltas {
    /// The id comes with every delta.
    IdEveryChunk,
    /// All calls have index 0; only their ids tell them apart.
    IndexZero,
    /// There is no index; only the ids tell the calls apart.
    NoIndex,
    /// The name comes with the last piece of the arguments.
    NameAfterArguments,
    /// The name is an empty string.
    EmptyName,
    /// Deltas after the first repeat id and name as empty strings.
    BlankLater,
    /// A whole call comes in one delta.
    WholeCall,
    /// A whole call comes in one delta, its arguments an object and not a string.
    ArgumentsObject,
    /// The deltas of parallel calls come in turns.
    Interleaved,
    /// The finishing chunk comes twice.
    FinishTwice,
}

/// What an answer may tell about usage instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageLie {
    /// Nothing.
    None,
    /// Null.
    Null,
    /// All zero.
    Zero,
    /// A negative number of output tokens.
    Negative,
    /// More output tokens than the request allows: twice `max_tokens` and a thousand.
    Implausible,
    /// A running total on every chunk of Chat Completions.
    EveryChunk,
    /// On the finishing chunk of Chat Completions, and not on a chunk of its own.
    OnFinish,
}

/// How a stream may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Markers {
    /// Without the event that tells why the model stopped.
    NoFinish,
    /// With a stop reason of null.
    NullFinish,
    /// Without `[DONE]`, `message_stop` or `response.completed`.
    NoDone,
    /// Without either: a clean end of the body that says nothing.
    Neither,
    /// As it should, but the connection stays open and silent.
    HeldOpen,
    /// As it should, and then a delta comes.
    DataAfterDone,
    /// With `[DONE]` at the end in dialects that have none.
    DoneAdded,
}

pub(crate) fn misreport(reply: &mut Reply, lie: UsageLie, request: &Request) {
    match lie {
        UsageLie::None => reply.place = Place::Absent,
        UsageLie::Null => reply.place = Place::Null,
        UsageLie::Zero => reply.told = Told::default(),
        UsageLie::Negative => reply.told.output = -reply.told.output.max(1),
        UsageLie::Implausible => {
            let cap = request.max_tokens.and_then(|cap| i64::try_from(cap).ok());
            reply.told.output = cap.unwrap_or(500_000).saturating_mul(2).saturating_add(1000);
        }
        UsageLie::EveryChunk => reply.place = Place::Everywhere,
        UsageLie::OnFinish => reply.place = Place::Finish,
    }
}

/// Changes the end of a stream. That the connection is held open is for the wire to do.
pub(crate) fn end(events: &mut Vec<Event>, markers: Markers) {
    match markers {
        Markers::NoFinish => events.retain(|event| event.kind != Kind::Finish),
        Markers::NoDone => events.retain(|event| event.kind != Kind::Done),
        Markers::Neither => {
            events.retain(|event| !matches!(event.kind, Kind::Finish | Kind::Done));
        }
        Markers::NullFinish => {
            for event in events.iter_mut().filter(|event| event.kind == Kind::Finish) {
                event.data = null_reason(&event.data);
            }
        }
        Markers::DataAfterDone => {
            let delta = events.iter().rfind(|event| event.kind.is_delta()).cloned();
            events.extend(delta);
        }
        Markers::DoneAdded => events.push(Event { name: None, data: "[DONE]".to_owned(), kind: Kind::Done }),
        Markers::HeldOpen => {}
    }
}

/// The event with `finish_reason` or `stop_reason` made null.
fn null_reason(data: &str) -> String {
    for name in ["\"finish_reason\":", "\"stop_reason\":"] {
        let Some((before, after)) = data.split_once(name) else {
            continue;
        };
        let mut quoted = after.splitn(3, '"');
        let (_, _, rest) = (quoted.next(), quoted.next(), quoted.next());
        return format!("{before}{name}null{}", rest.unwrap_or_default());
    }
    data.to_owned()
}
