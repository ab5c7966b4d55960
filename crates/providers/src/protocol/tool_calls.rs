//! Tool calls in a form that every provider accepts.

use std::borrow::Cow;

use brigade_core::{Arguments, FinishReason, Part, ToolCall};
use serde_json::{Map, Value, value::RawValue};

use super::{digest::digest, event_sink::EventSink, protocol::WireQuirk};
use crate::json::repair;

/// The most bytes of malformed arguments that are sent back to a model: enough to see the mistake.
const MAX_MALFORMED_BYTES: usize = 1_000;

/// How often arguments may be encoded as a string within a string.
const MAX_ENCODINGS: usize = 3;

/// An identifier of at most `max_bytes` made of letters, digits, `_` and `-`, which all providers accept.
///
/// A valid identifier is unchanged. An invalid one is always changed in the same way, so that a call and its result still
/// match. It then ends in a hash of the original, so that different identifiers stay different.
pub(crate) fn valid_id(id: &str, max_bytes: usize) -> Cow<'_, str> {
    let is_valid = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if !id.is_empty() && id.len() <= max_bytes && id.chars().all(is_valid) {
        return Cow::Borrowed(id);
    }
    let hash = format!("_{:016x}", digest(id.as_bytes()));
    let kept = id.chars().map(|character| if is_valid(character) { character } else { '_' });
    let kept: String = kept.take(max_bytes.saturating_sub(hash.len())).collect();
    Cow::Owned(kept + &hash)
}

/// The arguments as a JSON object, which the APIs require, and which the strictest parser reads. An object that is
/// encoded as a string is unwrapped. Arguments of another form become `{"_malformed": "…"}`, so that the model sees what
/// the error in the result refers to.
pub(crate) fn arguments_object(arguments: &Arguments) -> Cow<'_, str> {
    // Reads every value: limits the depth, and refuses escapes that are not Unicode.
    let is_object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).is_ok();
    let unwrapped = |text: &str| serde_json::from_str::<String>(text).ok().filter(|inner| is_object(inner));
    match arguments {
        Arguments::Json(raw) if is_object(raw.get()) => Cow::Borrowed(raw.get()),
        other => {
            let text = other.as_str();
            if let Some(inner) = unwrapped(text) {
                return Cow::Owned(inner);
            }
            let end = (0..=MAX_MALFORMED_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            let shown = text.get(..end.unwrap_or(0)).unwrap_or_default();
            Cow::Owned(serde_json::json!({ "_malformed": shown }).to_string())
        }
    }
}

/// Parses the arguments of a call. They are an object in every protocol, so one in a string, or written twice, is unwrapped.
pub(crate) fn parse_arguments(text: String, sink: &mut EventSink<'_>) -> Arguments {
    let arguments = match Arguments::parse(text) {
        Arguments::Json(raw) if raw.get().starts_with('{') && !repair::has_surrogates(raw.get().as_bytes()) => {
            return Arguments::Json(raw);
        }
        arguments => arguments,
    };
    let mut text = arguments.as_str().to_owned();
    for _ in 0..MAX_ENCODINGS {
        match serde_json::from_str(&text) {
            Ok(inner) => text = inner,
            Err(_) => break,
        }
    }
    if matches!(text.trim(), "" | "null") {
        return Arguments::default();
    }
    let document = repair::strings(&text).or_else(|| only_document(&text).map(RawValue::to_owned));
    match document.filter(|document| document.get().starts_with('{') && document.get() != arguments.as_str()) {
        Some(document) => {
            sink.quirk(WireQuirk::ArgumentsForm);
            Arguments::Json(document.into())
        }
        None => arguments,
    }
}

/// The document in a text that has it once or more, or after an empty object, with which some servers begin a call.
fn only_document(text: &str) -> Option<&RawValue> {
    let documents: Result<Vec<&RawValue>, _> = serde_json::Deserializer::from_str(text).into_iter().take(8).collect();
    let mut documents: Vec<&str> = documents.ok()?.into_iter().map(RawValue::get).collect();
    documents.dedup();
    match documents.as_slice() {
        [only] | ["{}", only] => serde_json::from_str(only).ok(),
        _ => None,
    }
}

/// Reports the quirks of an answer's tool calls, and returns the real finish reason: arguments that are cut off mean
/// that the answer reached its token limit, even if the provider states another reason.
pub(crate) fn check(parts: &[Part], reason: FinishReason, sink: &mut EventSink<'_>) -> FinishReason {
    let mut real_reason = reason;
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
            if matches!(reason, FinishReason::ToolCalls | FinishReason::EndTurn) {
                sink.quirk(WireQuirk::StopMismatch);
                real_reason = FinishReason::MaxTokens;
            }
        }
    }
    real_reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_id_is_unchanged_and_other_ids_stay_different() {
        assert_eq!(valid_id("call_1-A", 64), "call_1-A");
        let (dotted, spaced) = (valid_id("call.1", 64), valid_id("call 1", 64));
        assert!(dotted.starts_with("call_1_") && spaced.starts_with("call_1_"));
        assert_ne!(dotted, spaced);
        assert_eq!(valid_id(&"x".repeat(90), 64).len(), 64);
        assert_ne!(valid_id(&"x".repeat(90), 64), valid_id(&"x".repeat(91), 64));
        assert_eq!(valid_id("", 64), "_cbf29ce484222325");
    }

    #[test]
    fn arguments_that_are_not_an_object_become_one() {
        assert_eq!(arguments_object(&Arguments::parse(r#"{"a":1}"#.into())), r#"{"a":1}"#);
        assert_eq!(arguments_object(&Arguments::parse(String::new())), "{}");
        assert_eq!(arguments_object(&Arguments::parse("[1]".into())), r#"{"_malformed":"[1]"}"#);
        assert_eq!(arguments_object(&Arguments::parse(r#""{\"a\":1}""#.into())), r#"{"a":1}"#);
        for odd in [r#""{\"a\"""#, r#"{"a":"\ud83d"}"#, "{\"a\":\"\n\"}", &format!("{{\"a\":{}", "[".repeat(10_000))] {
            let sent = arguments_object(&Arguments::parse(odd.to_owned())).into_owned();
            assert!(sent.starts_with(r#"{"_malformed":"#), "{sent}");
        }
        let cut = arguments_object(&Arguments::parse(format!("{{\"a\":\"{}", "ä".repeat(800)))).into_owned();
        assert!(cut.len() < 1_100 && serde_json::from_str::<serde_json::Value>(&cut).is_ok());
    }
}
