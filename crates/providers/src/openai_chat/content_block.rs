//! Consecutive content of one type in an answer.

use std::collections::BTreeMap;

use brigade_core::{Part, ProviderData, RawJson, TextPart};
use serde::Serialize;
use serde_json::value::RawValue;

use super::chat_completions::DIALECT;

/// Consecutive content of one type.
#[derive(Debug)]
pub(super) enum ContentBlock {
    Text(String),
    /// Reasoning within the content (Mistral), with the server's own form if it arrived in one part.
    Thinking {
        text: String,
        raw: Option<Box<RawValue>>,
    },
    Opaque(Box<RawValue>),
}

impl ContentBlock {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Thinking { .. } | Self::Opaque(_) => "",
        }
    }

    pub(super) fn into_part(self) -> Part {
        match self {
            Self::Text(text) => Part::text(text),
            Self::Thinking { text, raw } => {
                let rebuilt = || {
                    let inner = BTreeMap::from([("text", &*text), ("type", "text")]);
                    RawJson::of(&ThinkingPart { kind: "thinking", thinking: [inner] }).ok()
                };
                let data = provider_data(raw.map(RawJson::from).or_else(rebuilt));
                Part::Thinking(TextPart::new(text).data(data))
            }
            Self::Opaque(raw) => Part::Opaque(ProviderData::new(DIALECT, raw.into())),
        }
    }
}

/// Reasoning as a part of the content.
#[derive(Debug, Serialize)]
struct ThinkingPart<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    thinking: [BTreeMap<&'static str, &'a str>; 1],
}

/// A part in the server's own form.
pub(super) fn provider_data(raw: Option<RawJson>) -> Option<ProviderData> {
    raw.map(|raw| ProviderData::new(DIALECT, raw))
}
