//! The layer of events: what is told, and in which.

use crate::exchange::reply::{Event, Kind, Reply};
use crate::exchange::request::Request;
use crate::fault::kinds::{TerminalMarkers, UsageFault};
use crate::protocol::usage::{Place, Told};

pub(crate) fn misreport(reply: &mut Reply, lie: UsageFault, request: &Request) {
    match lie {
        UsageFault::None => reply.place = Place::Absent,
        UsageFault::Null => reply.place = Place::Null,
        UsageFault::Zero => reply.told = Told::default(),
        UsageFault::Negative => reply.told.output = -reply.told.output.max(1),
        UsageFault::Implausible => {
            let cap = request.max_tokens.and_then(|cap| i64::try_from(cap).ok());
            reply.told.output = cap.unwrap_or(500_000).saturating_mul(2).saturating_add(1000);
        }
        UsageFault::EveryChunk => reply.place = Place::Everywhere,
        UsageFault::OnFinish => reply.place = Place::Finish,
    }
}

/// Changes the end of a stream. That the connection is held open is for the wire to do.
pub(crate) fn end(events: &mut Vec<Event>, markers: TerminalMarkers) {
    match markers {
        TerminalMarkers::NoFinish => events.retain(|event| event.kind != Kind::Finish),
        TerminalMarkers::NoDone => events.retain(|event| event.kind != Kind::Done),
        TerminalMarkers::Neither => {
            events.retain(|event| !matches!(event.kind, Kind::Finish | Kind::Done));
        }
        TerminalMarkers::NullFinish => {
            for event in events.iter_mut().filter(|event| event.kind == Kind::Finish) {
                event.data = null_reason(&event.data);
            }
        }
        TerminalMarkers::DataAfterDone => {
            let delta = events.iter().rfind(|event| event.kind.is_delta()).cloned();
            events.extend(delta);
        }
        TerminalMarkers::DoneAdded => events.push(Event { name: None, data: "[DONE]".to_owned(), kind: Kind::Done }),
        TerminalMarkers::HeldOpen => {}
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
