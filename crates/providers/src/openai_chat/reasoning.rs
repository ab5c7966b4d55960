//! Reasoning, for which servers use different fields, some several at once.

use brigade_core::{ProviderData, RawJson, TextPart};
use serde_json::{Map, Value, value::RawValue};

use super::{chat_completions::DIALECT, wire::ChoiceMessage};

/// The reasoning of one answer by field, so that each text is sent back in the field it came from.
#[derive(Debug, Default)]
pub(super) struct Reasoning {
    /// The field `reasoning` (Groq, OpenRouter, Ollama, Cerebras).
    plain: String,
    /// The field `reasoning_content` (`DeepSeek`, Alibaba, Moonshot, z.ai, llama.cpp, xAI).
    content: String,
    /// The field `reasoning_details` (OpenRouter): typed parts with signatures or encrypted data.
    details: Vec<Map<String, Value>>,
}

impl Reasoning {
    /// Adds the reasoning of a delta or message. Returns the new text, once if it is in several fields.
    pub(super) fn push(&mut self, message: &ChoiceMessage<'_>) -> Option<String> {
        let content = message.reasoning_content.filled();
        let plain = message.reasoning.filled();
        self.content.push_str(content.unwrap_or_default());
        self.plain.push_str(plain.unwrap_or_default());
        let details = message.reasoning_details.map(|raw| self.push_details(raw)).unwrap_or_default();
        let readable = content.or(plain).map(str::to_owned);
        readable.or_else(|| Some(details).filter(|text| !text.is_empty()))
    }

    /// The reasoning as a part of the message, if there is any.
    pub(super) fn finish(self) -> Option<TextPart> {
        let Self { plain, content, details } = self;
        if plain.is_empty() && content.is_empty() && details.is_empty() {
            return None;
        }
        let readable = [&content, &plain].into_iter().find(|text| !text.is_empty()).cloned();
        let text = readable.unwrap_or_else(|| details.iter().filter_map(text_of).collect());
        let mut fields = Map::new();
        for (name, value) in [("reasoning", plain), ("reasoning_content", content)] {
            if !value.is_empty() {
                fields.insert(name.to_owned(), value.into());
            }
        }
        if !details.is_empty() {
            fields.insert("reasoning_details".to_owned(), details.into_iter().map(Value::Object).collect());
        }
        let raw = RawJson::of(&fields).ok()?;
        Some(TextPart::new(text).data(Some(ProviderData::new(DIALECT, raw))))
    }

    /// Adds typed parts. Deltas of one part have its type and index: texts are appended, other fields are set once.
    fn push_details(&mut self, raw: &RawValue) -> String {
        let deltas: Vec<Map<String, Value>> = serde_json::from_str(raw.get()).unwrap_or_default();
        let text = deltas.iter().filter_map(text_of).collect();
        for delta in deltas {
            match self.details.last_mut().filter(|last| continues(last, &delta)) {
                Some(last) => merge(last, delta),
                None => self.details.push(delta),
            }
        }
        text
    }
}

fn text_of(detail: &Map<String, Value>) -> Option<&str> {
    ["text", "summary"].into_iter().find_map(|name| detail.get(name)?.as_str())
}

/// Whether a delta continues the last part. Parts without an index are complete.
fn continues(last: &Map<String, Value>, delta: &Map<String, Value>) -> bool {
    let same = |name: &str| last.get(name) == delta.get(name);
    delta.get("index").is_some_and(Value::is_number) && same("index") && same("type")
}

fn merge(detail: &mut Map<String, Value>, delta: Map<String, Value>) {
    for (name, value) in delta {
        match (detail.get_mut(&name), value) {
            (Some(Value::String(text)), Value::String(more)) if matches!(&*name, "text" | "summary" | "data") => {
                text.push_str(&more);
            }
            (None | Some(Value::Null), value) => {
                detail.insert(name, value);
            }
            (Some(_), _) => {}
        }
    }
}
