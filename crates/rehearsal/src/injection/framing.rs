//! Writes events as bytes, with faults in their framing.

use crate::exchange::event::{Event, EventKind};
use crate::fault::kinds::Framing;

/// The position at which an invalid event is inserted.
const INVALID_EVENT_POSITION: usize = 3;
const OVERSIZE_BYTES: usize = 9 << 20;

/// The bytes of the event at this position of its stream.
pub(crate) fn encode(event: &Event, position: usize, framing: &[Framing]) -> Vec<u8> {
    let has = |kind| framing.contains(&kind);
    let newline = match position % 3 {
        1 if has(Framing::Mixed) => "\r\n",
        2 if has(Framing::Mixed) => "\r",
        _ if has(Framing::Crlf) => "\r\n",
        _ if has(Framing::Cr) => "\r",
        _ => "\n",
    };
    let mut text = String::new();
    if position == 0 && has(Framing::Bom) {
        text.push('\u{feff}');
    }
    if has(Framing::Comments) {
        text.push_str(": OPENROUTER PROCESSING");
        text.push_str(newline);
        text.push_str(newline);
    }
    if has(Framing::UnknownEvents) {
        let data = r#"{"type":"rehearsal_notice","unknown":true}"#.to_owned();
        let unknown = Event { name: Some("rehearsal_notice"), data, kind: EventKind::Frame };
        write_event(&mut text, &unknown, "data: ", newline);
    }
    if position == INVALID_EVENT_POSITION {
        let bad_json = has(Framing::BadJson).then(|| "{not json".to_owned());
        let oversize = has(Framing::OversizeLine).then(|| format!(r#"{{"padding":"{}"}}"#, "x".repeat(OVERSIZE_BYTES)));
        for data in [bad_json, oversize].into_iter().flatten() {
            let invalid = Event { name: event.name, data, kind: EventKind::Frame };
            write_event(&mut text, &invalid, "data: ", newline);
        }
    }
    let mut event = event.clone();
    if has(Framing::NoEventNames) {
        event.name = None;
    }
    let data = if has(Framing::NoSpace) { "data:" } else { "data: " };
    if has(Framing::MultiLine) {
        // A line break between two JSON tokens changes nothing.
        event.data = event.data.replacen('{', &format!("{{{newline}{data}"), 1);
    }
    write_event(&mut text, &event, data, newline);
    text.into_bytes()
}

fn write_event(text: &mut String, event: &Event, data: &str, newline: &str) {
    if let Some(name) = event.name {
        let blank = data.strip_prefix("data:").unwrap_or(" ");
        for piece in ["event:", blank, name, newline] {
            text.push_str(piece);
        }
    }
    for piece in [data, &event.data, newline, newline] {
        text.push_str(piece);
    }
}
