//! Faults in the events of a stream, and in the reported usage.

use crate::exchange::event::{Event, EventKind};
use crate::exchange::reply::Reply;
use crate::exchange::request::Request;
use crate::fault::kinds::{TerminalMarkers, UsageFault};
use crate::protocol::usage::{ReportedUsage, UsagePlacement};

/// Makes the reply report wrong usage.
pub(crate) fn misreport_usage(reply: &mut Reply, fault: UsageFault, request: &Request) {
    match fault {
        UsageFault::None => reply.usage_placement = UsagePlacement::Absent,
        UsageFault::Null => reply.usage_placement = UsagePlacement::Null,
        UsageFault::Zero => reply.reported = ReportedUsage::default(),
        UsageFault::Negative => reply.reported.output = -reply.reported.output.max(1),
        UsageFault::Implausible => {
            let limit = request.max_tokens.and_then(|limit| i64::try_from(limit).ok());
            reply.reported.output = limit.unwrap_or(500_000).saturating_mul(2).saturating_add(1000);
        }
        UsageFault::EveryChunk => reply.usage_placement = UsagePlacement::EveryChunk,
        UsageFault::OnFinish => reply.usage_placement = UsagePlacement::Finish,
    }
}

/// Changes the terminal markers of a stream. `HeldOpen` concerns the connection and changes no event.
pub(crate) fn change_markers(events: &mut Vec<Event>, markers: TerminalMarkers) {
    match markers {
        TerminalMarkers::NoFinish => events.retain(|event| event.kind != EventKind::Finish),
        TerminalMarkers::NoDone => events.retain(|event| event.kind != EventKind::Done),
        TerminalMarkers::Neither => {
            events.retain(|event| !matches!(event.kind, EventKind::Finish | EventKind::Done));
        }
        TerminalMarkers::NullFinish => {
            for event in events.iter_mut().filter(|event| event.kind == EventKind::Finish) {
                event.data = with_null_reason(&event.data);
            }
        }
        TerminalMarkers::DataAfterDone => {
            let delta = events.iter().rfind(|event| event.kind.is_delta()).cloned();
            events.extend(delta);
        }
        TerminalMarkers::DoneAdded => {
            events.push(Event { name: None, data: "[DONE]".to_owned(), kind: EventKind::Done });
        }
        TerminalMarkers::HeldOpen => {}
    }
}

/// The JSON with `null` as `finish_reason` or `stop_reason`.
fn with_null_reason(data: &str) -> String {
    for name in ["\"finish_reason\":", "\"stop_reason\":"] {
        let Some((before, after)) = data.split_once(name) else {
            continue;
        };
        let rest = after.splitn(3, '"').nth(2);
        return format!("{before}{name}null{}", rest.unwrap_or_default());
    }
    data.to_owned()
}
