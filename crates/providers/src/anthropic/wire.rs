//! What Anthropic's Messages API sends, read leniently.
//!
//! Everything but the names of events may be missing. Content blocks are kept as raw JSON, since most of them must go
//! back exactly as they came. See <https://docs.anthropic.com/en/api/messages-streaming>.

use std::{borrow::Cow, collections::BTreeMap};

use brigade_core::RawJson;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, Count, Fields};

/// One event of a stream; its kind says which fields are there.
#[derive(Debug, Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(default, borrow, rename = "type", deserialize_with = "json::loose")]
    pub(super) kind: Option<&'a str>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) index: Option<usize>,
    #[serde(borrow)]
    pub(super) message: Option<Answer<'a>>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// A whole answer, or the frame of one at the start of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) model: Option<String>,
    #[serde(borrow)]
    pub(super) content: Option<Vec<&'a RawValue>>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) stop_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// The `delta` of `message_delta`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct MessageDelta {
    pub(super) stop_reason: Option<String>,
}

/// The `delta` of `content_block_delta`.
#[derive(Debug, Deserialize)]
pub(super) struct BlockDelta<'a> {
    #[serde(default, borrow, rename = "type", deserialize_with = "json::loose")]
    pub(super) kind: Option<&'a str>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) text: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) thinking: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) signature: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) partial_json: Option<String>,
    #[serde(borrow)]
    pub(super) citation: Option<&'a RawValue>,
}

/// Token counts as Anthropic reports them, in a dozen combinations of keys.
///
/// In a stream they are totals: each later figure replaces the earlier one.
/// See <https://docs.anthropic.com/en/api/messages#response-usage>.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) input_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens: Count,
    #[serde(default)]
    pub(super) cache_read_input_tokens: Count,
    #[serde(default)]
    pub(super) cache_creation_input_tokens: Count,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) cache_creation: Option<CacheCreation>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) output_tokens_details: Option<OutputDetails>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) server_tool_use: Option<ServerToolUse>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) service_tier: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) iterations: Option<Vec<Iteration>>,
}

/// Cache writes by the life of the cache.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct CacheCreation {
    #[serde(default)]
    pub(super) ephemeral_1h_input_tokens: Count,
}

/// What the output consists of.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct OutputDetails {
    #[serde(default)]
    pub(super) thinking_tokens: Count,
}

/// Tools that ran at the provider.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct ServerToolUse {
    #[serde(default)]
    pub(super) web_search_requests: Count,
}

/// One of several samplings inside one call.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Iteration {
    #[serde(default, rename = "type", deserialize_with = "json::loose")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) input_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens: Count,
    #[serde(default)]
    pub(super) cache_read_input_tokens: Count,
    #[serde(default)]
    pub(super) cache_creation_input_tokens: Count,
}

/// A content block that may still grow.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) index: Option<usize>,
    kind: String,
    raw: RawJson,
    fields: Fields,
    grown: BTreeMap<Cow<'static, str>, Growth>,
}

/// What deltas add to a field of a block.
#[derive(Debug)]
enum Growth {
    /// More of a string.
    Text(String),
    /// Pieces of a JSON document that replaces the field.
    Json(String),
    /// More elements of a list.
    List(Vec<Box<RawValue>>),
    /// Another value.
    Value(Box<RawValue>),
}

impl Usage {
    /// Takes a later report.
    pub(super) fn update(&mut self, later: Self) {
        self.input_tokens.update(later.input_tokens);
        self.output_tokens.update(later.output_tokens);
        self.cache_read_input_tokens.update(later.cache_read_input_tokens);
        self.cache_creation_input_tokens.update(later.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
        self.server_tool_use = later.server_tool_use.or(self.server_tool_use);
        self.service_tier = later.service_tier.or(self.service_tier.take());
        self.iterations = later.iterations.or(self.iterations.take());
    }

    /// Whether a count cannot be right.
    pub(super) fn is_implausible(&self) -> bool {
        let counts =
            [self.input_tokens, self.output_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens];
        counts.contains(&Count::Implausible)
    }

    /// The counts in core's terms; absent unless both input and output were told.
    ///
    /// Anthropic counts cached tokens beside `input_tokens`, not among them. Its top-level counts leave out the
    /// samplings that only served the call (compaction, an advisor), which are billed all the same:
    /// <https://docs.anthropic.com/en/docs/build-with-claude/compaction#understanding-usage>.
    pub(super) fn normalised(&self) -> Option<brigade_core::Usage> {
        let (uncached, output) = (self.input_tokens.get()?, self.output_tokens.get()?);
        let (read, write) = (self.cache_read_input_tokens.get(), self.cache_creation_input_tokens.get());
        let long_lived = self.cache_creation.and_then(|created| created.ephemeral_1h_input_tokens.get());
        let mut usage = brigade_core::Usage::new(total(uncached, read, write), output)
            .cache_read_tokens(read)
            .cache_write_tokens(write)
            .cache_write_1h_tokens(long_lived.map(|tokens| tokens.min(write.unwrap_or(0))))
            .reasoning_tokens(self.output_tokens_details.and_then(|details| details.thinking_tokens.get()))
            .web_searches(self.server_tool_use.and_then(|tools| tools.web_search_requests.get()));
        for side in self.iterations.iter().flatten().filter(|iteration| iteration.is_side_work()) {
            usage += side.normalised();
        }
        Some(usage)
    }
}

impl Iteration {
    /// Whether the top-level counts leave this sampling out.
    fn is_side_work(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| !matches!(kind, "message" | "fallback_message"))
    }

    fn normalised(&self) -> brigade_core::Usage {
        let (read, write) = (self.cache_read_input_tokens.get(), self.cache_creation_input_tokens.get());
        brigade_core::Usage::new(
            total(self.input_tokens.get().unwrap_or(0), read, write),
            self.output_tokens.get().unwrap_or(0),
        )
        .cache_read_tokens(read)
        .cache_write_tokens(write)
    }
}

fn total(uncached: u64, read: Option<u64>, write: Option<u64>) -> u64 {
    uncached.saturating_add(read.unwrap_or(0)).saturating_add(write.unwrap_or(0))
}

impl Block {
    /// A block as it came. One that is no object is kept, but has no fields.
    pub(super) fn new(index: Option<usize>, raw: &RawValue) -> Self {
        let fields: Fields = serde_json::from_str(raw.get()).unwrap_or_default();
        let kind = fields.get("type").and_then(|raw| json::text(raw)).unwrap_or_default();
        Self { index, kind, raw: raw.to_owned().into(), fields, grown: BTreeMap::new() }
    }

    /// A block that never started, to hold a delta of the given kind.
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

    /// A string field, as far as it has grown; empty if there is none.
    pub(super) fn string(&self, field: &str) -> String {
        let mut text = self.fields.get(field).and_then(|raw| json::text(raw)).unwrap_or_default();
        if let Some(Growth::Text(more)) = self.grown.get(field) {
            text.push_str(more);
        }
        text
    }

    /// The model that takes over, if this block says that one does.
    pub(super) fn successor(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Successor {
            model: String,
        }
        let to = self.fields.get("to").filter(|_| self.kind == "fallback")?;
        serde_json::from_str::<Successor>(to.get()).ok().map(|successor| successor.model)
    }

    /// The `input` of a tool call: the streamed pieces if there are any, else what the block started with.
    pub(super) fn input(&self) -> String {
        match self.grown.get("input") {
            Some(Growth::Json(text)) if !text.trim().is_empty() => text.clone(),
            _ => self.fields.get("input").map(|raw| raw.get().to_owned()).unwrap_or_default(),
        }
    }

    /// Takes a delta of a known kind; answers whether it was one.
    pub(super) fn grow(&mut self, delta: BlockDelta<'_>) -> bool {
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

    /// Takes a delta of an unknown kind the way all known kinds work: strings and lists are continued, other values
    /// replaced. (`compaction_delta` is of this form.)
    pub(super) fn grow_by_fields(&mut self, delta: &RawValue) {
        let fields: Fields = serde_json::from_str(delta.get()).unwrap_or_default();
        for (name, content) in fields.into_iter().filter(|(name, content)| name != "type" && content.get() != "null") {
            match json::text(&content) {
                Some(text) => self.push_text(name, &text),
                None => {
                    self.grown.insert(name.into(), Growth::Value(content));
                }
            }
        }
    }

    fn push_text(&mut self, field: impl Into<Cow<'static, str>>, more: &str) {
        let growth = self.grown.entry(field.into()).or_insert_with(|| Growth::Text(String::new()));
        if let Growth::Text(text) = growth {
            text.push_str(more);
        }
    }

    fn push_json(&mut self, more: &str) {
        let growth = self.grown.entry("input".into()).or_insert_with(|| Growth::Json(String::new()));
        if let Growth::Json(text) = growth {
            text.push_str(more);
        }
    }

    fn push_item(&mut self, field: &'static str, item: &RawValue) {
        let growth = self.grown.entry(field.into()).or_insert_with(|| Growth::List(Vec::new()));
        if let Growth::List(items) = growth {
            items.push(item.to_owned());
        }
    }

    /// The fields of the whole block, without those named in `known`.
    pub(super) fn fields_without(&mut self, known: &[&str]) -> Fields {
        self.settle();
        let others = self.fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        others.map(|(name, content)| (name.clone(), content.clone())).collect()
    }

    /// The whole block as JSON, byte for byte as it came if no delta changed it.
    pub(super) fn into_raw(mut self) -> RawJson {
        self.settle();
        self.raw
    }

    /// Moves what has grown into the block.
    fn settle(&mut self) {
        if self.grown.is_empty() {
            return;
        }
        for (name, growth) in std::mem::take(&mut self.grown) {
            let before = self.fields.get(&*name);
            let settled = match growth {
                Growth::Text(more) => {
                    let before = before.and_then(|raw| json::text(raw)).unwrap_or_default();
                    serde_json::value::to_raw_value(&(before + &more))
                }
                // Half a document cannot go back to the provider; what the block started with can.
                Growth::Json(text) => RawValue::from_string(text),
                Growth::List(more) => {
                    let before = before.and_then(|raw| serde_json::from_str::<Vec<_>>(raw.get()).ok());
                    let all: Vec<Box<RawValue>> = before.unwrap_or_default().into_iter().chain(more).collect();
                    serde_json::value::to_raw_value(&all)
                }
                Growth::Value(value) => Ok(value),
            };
            if let Ok(settled) = settled {
                self.fields.insert(name.into_owned(), settled);
            }
        }
        if let Ok(raw) = RawJson::of(&self.fields) {
            self.raw = raw;
        }
    }
}
