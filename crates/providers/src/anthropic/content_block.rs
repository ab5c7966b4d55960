//! A content block of an answer, and the deltas that extend it.

use std::{borrow::Cow, collections::BTreeMap};

use brigade_core::RawJson;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::BlockDelta;
use crate::json::json::{self, RawFields};

/// A content block that deltas may still extend.
#[derive(Debug)]
pub(super) struct ContentBlock {
    pub(super) index: Option<usize>,
    kind: String,
    raw: RawJson,
    fields: RawFields,
    deltas: BTreeMap<Cow<'static, str>, FieldDelta>,
}

/// What deltas add to one field of a block.
#[derive(Debug)]
enum FieldDelta {
    /// Text that continues a string.
    Text(String),
    /// The text of a JSON document that replaces the field.
    Json(String),
    /// Further elements of a list.
    List(Vec<Box<RawValue>>),
    /// A value that replaces the field.
    Value(Box<RawValue>),
}

impl ContentBlock {
    /// Parses a block. One that is not an object is kept, without fields.
    pub(super) fn new(index: Option<usize>, raw: &RawValue) -> Self {
        let fields: RawFields = serde_json::from_str(raw.get()).unwrap_or_default();
        let kind = fields.get("type").and_then(|raw| json::text(raw)).unwrap_or_default();
        Self { index, kind, raw: raw.to_owned().into(), fields, deltas: BTreeMap::new() }
    }

    /// A block for a delta whose block never started.
    pub(super) fn implied(index: Option<usize>, delta_kind: &str) -> Self {
        let kind = match delta_kind {
            "text_delta" | "citations_delta" => "text",
            "thinking_delta" | "signature_delta" => "thinking",
            other => other.trim_end_matches("_delta"),
        };
        let raw = RawJson::of(&BTreeMap::from([("type", kind)])).unwrap_or_else(|_| RawJson::empty_object());
        Self::new(index, raw.as_raw())
    }

    /// The block's type.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// A string field with the deltas received so far; empty if there is none.
    pub(super) fn string(&self, field: &str) -> String {
        let mut text = self.fields.get(field).and_then(|raw| json::text(raw)).unwrap_or_default();
        if let Some(FieldDelta::Text(more)) = self.deltas.get(field) {
            text.push_str(more);
        }
        text
    }

    /// The model that continues the answer, in a fallback block.
    pub(super) fn fallback_model(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Fallback {
            model: String,
        }
        let to = self.fields.get("to").filter(|_| self.kind == "fallback")?;
        serde_json::from_str::<Fallback>(to.get()).ok().map(|fallback| fallback.model)
    }

    /// The `input` of a tool call: the streamed text if there is any, else the value in the block's start.
    pub(super) fn input(&self) -> String {
        match self.deltas.get("input") {
            Some(FieldDelta::Json(text)) if !text.trim().is_empty() => text.clone(),
            _ => self.fields.get("input").map(|raw| raw.get().to_owned()).unwrap_or_default(),
        }
    }

    /// Applies a delta. Returns false if its kind is not known.
    pub(super) fn apply(&mut self, delta: BlockDelta<'_>) -> bool {
        let BlockDelta { kind, text, thinking, signature, partial_json, citation } = delta;
        match (kind.unwrap_or_default(), text, thinking, signature, partial_json, citation) {
            ("text_delta", Some(text), ..) => self.push_text("text", &text),
            ("thinking_delta", _, Some(text), ..) => self.push_text("thinking", &text),
            ("signature_delta", _, _, Some(text), ..) => self.push_text("signature", &text),
            ("input_json_delta", .., Some(text), _) => self.push_json(&text),
            ("citations_delta", .., Some(citation)) => self.push_item("citations", citation),
            _ => return false,
        }
        true
    }

    /// Applies a delta of an unknown kind as the known kinds work: continues strings and replaces other values.
    /// (`compaction_delta` is of this form.)
    pub(super) fn apply_unknown(&mut self, delta: &RawValue) {
        let fields: RawFields = serde_json::from_str(delta.get()).unwrap_or_default();
        for (name, content) in fields.into_iter().filter(|(name, content)| name != "type" && content.get() != "null") {
            match json::text(&content) {
                Some(text) => self.push_text(name, &text),
                None => {
                    self.deltas.insert(name.into(), FieldDelta::Value(content));
                }
            }
        }
    }

    fn push_text(&mut self, field: impl Into<Cow<'static, str>>, more: &str) {
        let delta = self.deltas.entry(field.into()).or_insert_with(|| FieldDelta::Text(String::new()));
        if let FieldDelta::Text(text) = delta {
            text.push_str(more);
        }
    }

    fn push_json(&mut self, more: &str) {
        let delta = self.deltas.entry("input".into()).or_insert_with(|| FieldDelta::Json(String::new()));
        if let FieldDelta::Json(text) = delta {
            text.push_str(more);
        }
    }

    fn push_item(&mut self, field: &'static str, item: &RawValue) {
        let delta = self.deltas.entry(field.into()).or_insert_with(|| FieldDelta::List(Vec::new()));
        if let FieldDelta::List(items) = delta {
            items.push(item.to_owned());
        }
    }

    /// The fields of the whole block, without those named in `known`.
    pub(super) fn fields_without(&mut self, known: &[&str]) -> RawFields {
        self.merge_deltas();
        let others = self.fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        others.map(|(name, content)| (name.clone(), content.clone())).collect()
    }

    /// The whole block as JSON: the received bytes, if no delta changed it.
    pub(super) fn into_raw(mut self) -> RawJson {
        self.merge_deltas();
        self.raw
    }

    /// Merges the deltas into the block.
    fn merge_deltas(&mut self) {
        if self.deltas.is_empty() {
            return;
        }
        for (name, delta) in std::mem::take(&mut self.deltas) {
            let before = self.fields.get(&*name);
            let merged = match delta {
                FieldDelta::Text(more) => {
                    let before = before.and_then(|raw| json::text(raw)).unwrap_or_default();
                    serde_json::value::to_raw_value(&(before + &more))
                }
                // Fails for an incomplete document; then the block keeps the value that it started with.
                FieldDelta::Json(text) => RawValue::from_string(text),
                FieldDelta::List(more) => {
                    let before = before.and_then(|raw| serde_json::from_str::<Vec<_>>(raw.get()).ok());
                    let all: Vec<Box<RawValue>> = before.unwrap_or_default().into_iter().chain(more).collect();
                    serde_json::value::to_raw_value(&all)
                }
                FieldDelta::Value(value) => Ok(value),
            };
            if let Ok(merged) = merged {
                self.fields.insert(name.into_owned(), merged);
            }
        }
        if let Ok(raw) = RawJson::of(&self.fields) {
            self.raw = raw;
        }
    }
}
