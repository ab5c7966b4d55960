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
        // Concern the written reply.
        UsageFault::ZeroAtEnd | UsageFault::OwnKeyCost => {}
    }
}

/// Ends a stream with usage of zero.
pub(crate) fn end_with_zero_usage(events: &mut Vec<Event>) {
    let zeros = |event: &Event| Event { data: with_zero_usage(&event.data), ..event.clone() };
    if let Some(position) = events.iter().rposition(|event| event.kind == EventKind::Usage) {
        if let Some(last) = events.get(position).map(zeros) {
            events.insert(position + 1, last);
        }
    } else if let Some(finish) = events.iter_mut().find(|event| event.name == Some("message_delta"))
        && let Ok(mut data) = serde_json::from_str::<serde_json::Value>(&finish.data)
        && let Some(usage) = data.get_mut("usage").and_then(serde_json::Value::as_object_mut)
    {
        usage.insert("input_tokens".to_owned(), 0.into());
        finish.data = data.to_string();
    }
}

/// Adds the cost of a call with an own key to a written reply.
pub(crate) fn with_own_key_cost(data: &str) -> String {
    let cost = r#""usage":{"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.036},"#;
    data.replace("\"usage\": {", "\"usage\":{").replace("\"usage\":{", cost)
}

fn with_zero_usage(data: &str) -> String {
    let Some((before, usage)) = data.split_once("\"usage\":") else { return data.to_owned() };
    let mut zeros = String::with_capacity(usage.len());
    for character in usage.chars() {
        match character {
            '0'..='9' if zeros.ends_with('0') => {}
            '0'..='9' => zeros.push('0'),
            character => zeros.push(character),
        }
    }
    format!("{before}\"usage\":{zeros}")
}

/// Changes the terminal markers of a stream. `HeldOpen` and `LateEnd` concern the connection and change no event.
pub(crate) fn change_markers(events: &mut Vec<Event>, markers: TerminalMarkers) {
    match markers {
        TerminalMarkers::NoFinish => events.retain(|event| event.kind != EventKind::Finish),
        TerminalMarkers::NoDone | TerminalMarkers::NoDoneHeldOpen => {
            events.retain(|event| event.kind != EventKind::Done);
        }
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
        TerminalMarkers::HeldOpen | TerminalMarkers::LateEnd => {}
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
