//! What the Responses API sends, read leniently.
//!
//! Output items are kept as raw JSON, because most of them must be sent back unchanged.
//! See <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    json::json::{self, Count, LooseList, RawFields},
    protocol::usage::{drop_implausible, stated_cost},
};

/// One event of a stream. Its kind determines which fields are present.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(default, borrow, rename = "type", deserialize_with = "json::loose")]
    pub(super) kind: Option<&'a str>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) output_index: Option<u64>,
    #[serde(borrow)]
    pub(super) item: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
}

/// A response, finished or not.
#[derive(Debug, Deserialize)]
pub(super) struct Response<'a> {
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) status: Option<String>,
    #[serde(default, borrow)]
    pub(super) output: LooseList<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) service_tier: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) incomplete_details: Option<IncompleteDetails>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// Why a response is incomplete.
#[derive(Debug, Deserialize)]
pub(super) struct IncompleteDetails {
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) reason: Option<String>,
}

/// An item of the output with its fields.
#[derive(Debug)]
pub(super) struct OutputItem {
    pub(super) kind: String,
    pub(super) fields: RawFields,
}

/// A part of a message, a summary or a reasoning text.
#[derive(Debug, Default, Deserialize)]
struct ItemText {
    #[serde(default, rename = "type", deserialize_with = "json::loose")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    text: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    refusal: Option<String>,
}

/// Token counts, with the fields that compatible servers add.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsageObject<'a> {
    input_tokens: Count,
    output_tokens: Count,
    #[serde(borrow)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

/// The parts of the input and output counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenDetails {
    #[serde(rename = "cached_tokens")]
    cached: Count,
    #[serde(rename = "cache_write_tokens")]
    cache_write: Count,
    #[serde(rename = "reasoning_tokens")]
    reasoning: Count,
}

/// Converts a `usage` object; absent unless it has both input and output. The flag is true if a count is impossible; that
/// count is left out.
pub(super) fn usage(raw: &RawValue) -> (Option<brigade_core::Usage>, bool) {
    let Some(stated) = json::read::<UsageObject<'_>>(raw.get().as_bytes()) else { return (None, true) };
    let implausible = [stated.input_tokens, stated.output_tokens].contains(&Count::Implausible);
    let (Some(input), Some(output)) = (stated.input_tokens.get(), stated.output_tokens.get()) else {
        return (None, implausible);
    };
    let details = |raw: Option<&RawValue>| -> TokenDetails {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    };
    let (input_details, output_details) = (details(stated.input_tokens_details), details(stated.output_tokens_details));
    let mut usage = brigade_core::Usage::new(input, output)
        .cache_read_tokens(input_details.cached.get())
        .cache_write_tokens(input_details.cache_write.get())
        .reasoning_tokens(output_details.reasoning.get())
        .stated_cost(stated_cost(raw));
    let dropped = drop_implausible(&mut usage);
    (Some(usage), implausible || dropped)
}

impl OutputItem {
    /// Parses an item. One that is not an object has no fields.
    pub(super) fn new(raw: &RawValue) -> Self {
        let fields: RawFields = serde_json::from_str(raw.get()).unwrap_or_default();
        let kind = fields.get("type").and_then(|raw| json::text(raw)).unwrap_or_default();
        Self { kind, fields }
    }

    /// A string field; empty if there is none.
    pub(super) fn string(&self, field: &str) -> String {
        self.fields.get(field).and_then(|raw| json::text(raw)).unwrap_or_default()
    }

    /// The text of a list of parts, and whether one of them is a refusal.
    pub(super) fn text(&self, field: &str, separator: &str) -> (String, bool) {
        let Some(raw) = self.fields.get(field) else { return (String::new(), false) };
        if let Some(text) = json::text(raw) {
            return (text, false);
        }
        let parts: Vec<ItemText> = serde_json::from_str(raw.get()).unwrap_or_default();
        let refused = parts.iter().any(|part| part.kind.as_deref() == Some("refusal"));
        let texts: Vec<String> = parts.into_iter().filter_map(|part| part.text.or(part.refusal)).collect();
        (texts.join(separator), refused)
    }

    /// Whether this is a web search, rather than the opening of a page. Only searches are billed.
    pub(super) fn is_web_search(&self) -> bool {
        #[derive(Deserialize)]
        struct Action {
            #[serde(rename = "type")]
            kind: String,
        }
        let action = self.fields.get("action").and_then(|raw| serde_json::from_str::<Action>(raw.get()).ok());
        self.kind == "web_search_call" && action.is_none_or(|action| action.kind == "search")
    }
}
