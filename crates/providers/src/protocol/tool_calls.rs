//! Tool calls as every protocol sees them.

use std::borrow::Cow;

use brigade_core::{Arguments, FinishReason, Part, ToolCall};

use super::{
    digest::digest,
    protocol::{EventSink, WireQuirk},
};

/// How much of malformed arguments a model is shown again: enough to see what went wrong.
const MALFORMED_SHOWN_BYTES: usize = 1_000;

/// An identifier of at most `max_bytes` made of letters, digits, `_` and `-`, the form that all providers accept.
///
/// One that fits is left alone. Another is changed the same way each time, so that a call and its result still pair,
/// and ends in a hash of the original, so that two different ones stay different.
pub(crate) fn valid_id(id: &str, max_bytes: usize) -> Cow<'_, str> {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if !id.is_empty() && id.len() <= max_bytes && id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    let hash = format!("_{:016x}", digest(id.as_bytes()));
    let kept = id.chars().map(|character| if fits(character) { character } else { '_' });
    let kept: String = kept.take(max_bytes.saturating_sub(hash.len())).collect();
    Cow::Owned(kept + &hash)
}

/// The arguments as a JSON object. The APIs take no other form back, but a model may have written one: it is shown
/// as `{"_malformed": "…"}`, so that it sees what the error in the result is about.
pub(crate) fn arguments_object(arguments: &Arguments) -> Cow<'_, str> {
    match arguments {
        Arguments::Json(raw) if raw.get().starts_with('{') => Cow::Borrowed(raw.get()),
        other => {
            let text = other.as_str();
            let end = (0..=MALFORMED_SHOWN_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            let shown = text.get(..end.unwrap_or(0)).unwrap_or_default();
            Cow::Owned(serde_json::json!({ "_malformed": shown }).to_string())
        }
    }
}

/// Counts what is odd about the tool calls of an answer. Answers why it really stopped: arguments that break off mean
/// that there was no room for more, whatever the provider says.
pub(crate) fn check(parts: &[Part], stop: FinishReason, sink: &mut EventSink<'_>) -> FinishReason {
    let mut really = stop;
    let calls = parts.iter().filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None });
    let calls: Vec<&ToolCall> = calls.collect();
    for (position, call) in calls.iter().enumerate() {
        if call.id.is_empty() {
            sink.quirk(WireQuirk::CallIdMissing);
        } else if calls.iter().take(position).any(|earlier| earlier.id == call.id) {
            sink.quirk(WireQuirk::CallIdRepeated);
        }
        if let Arguments::Malformed(_) = call.arguments {
            sink.quirk(WireQuirk::ArgumentsMalformed);
            if matches!(stop, FinishReason::ToolCalls | FinishReason::EndTurn) {
                sink.quirk(WireQuirk::StopMismatch);
                really = FinishReason::MaxTokens;
            }
        }
    }
    really
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_fits_is_left_alone_and_others_stay_different() {
        assert_eq!(valid_id("call_1-A", 64), "call_1-A");
        let (dotted, spaced) = (valid_id("call.1", 64), valid_id("call 1", 64));
        assert!(dotted.starts_with("call_1_") && spaced.starts_with("call_1_"));
        assert_ne!(dotted, spaced);
        assert_eq!(valid_id(&"x".repeat(90), 64).len(), 64);
        assert_ne!(valid_id(&"x".repeat(90), 64), valid_id(&"x".repeat(91), 64));
        assert_eq!(valid_id("", 64), "_cbf29ce484222325");
    }

    #[test]
    fn arguments_that_are_no_object_go_back_as_one() {
        assert_eq!(arguments_object(&Arguments::parse(r#"{"a":1}"#.into())), r#"{"a":1}"#);
        assert_eq!(arguments_object(&Arguments::parse(String::new())), "{}");
        assert_eq!(arguments_object(&Arguments::parse("[1]".into())), r#"{"_malformed":"[1]"}"#);
        let cut = arguments_object(&Arguments::parse(format!("{{\"a\":\"{}", "ä".repeat(800)))).into_owned();
        assert!(cut.len() < 1_100 && serde_json::from_str::<serde_json::Value>(&cut).is_ok());
    }
}
