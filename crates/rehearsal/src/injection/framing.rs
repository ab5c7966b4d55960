//! The layer of frames: how events become bytes.

use crate::exchange::reply::{Event, Kind};
use crate::fault::kinds::Framing;

const ODD_EVENT_AT: usize = 3;
const OVERSIZE_BYTES: usize = 9 << 20;

/// The bytes of one event, the `at`th of its stream.
pub(crate) fn encode(event: &Event, at: usize, framing: &[Framing]) -> Vec<u8> {
    let mut text = String::with_capacity(event.data.len() + 48);
    if framing.is_empty() {
        write_event(&mut text, event, "data: ", "\n");
        return text.into_bytes();
    }
    let has = |way| framing.contains(&way);
    let newline = match at % 3 {
        1 if has(Framing::Mixed) => "\r\n",
        2 if has(Framing::Mixed) => "\r",
        _ if has(Framing::Crlf) => "\r\n",
        _ if has(Framing::Cr) => "\r",
        _ => "\n",
    };
    if at == 0 && has(Framing::Bom) {
        text.push('\u{feff}');
    }
    if has(Framing::Comments) {
        text.push_str(": OPENROUTER PROCESSING");
        text.push_str(newline);
        text.push_str(newline);
    }
    if has(Framing::UnknownEvents) {
        let unknown = odd("rehearsal_notice", r#"{"type":"rehearsal_notice","unknown":true}"#.to_owned());
        write_event(&mut text, &unknown, "data: ", newline);
    }
    if at == ODD_EVENT_AT && has(Framing::BadJson) {
        let unquoted = odd("message", "{not json".to_owned());
        write_event(&mut text, &Event { name: event.name, ..unquoted }, "data: ", newline);
    }
    if at == ODD_EVENT_AT && has(Framing::OversizeLine) {
        let long = odd("message", format!(r#"{{"padding":"{}"}}"#, "x".repeat(OVERSIZE_BYTES)));
        write_event(&mut text, &Event { name: event.name, ..long }, "data: ", newline);
    }
    let mut event = event.clone();
    if has(Framing::NoEventNames) {
        event.name = None;
    }
    let data = if has(Framing::NoSpace) { "data:" } else { "data: " };
    if has(Framing::MultiLine) {
        // A line break between two tokens of JSON changes nothing.
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

fn odd(name: &'static str, data: String) -> Event {
    Event { name: Some(name), data, kind: Kind::Frame }
}
