//! The responses of Anthropic's Messages API, parsed leniently.
//!
//! Any field except an event's name may be missing. Content blocks are kept as raw JSON, because most of them must be
//! sent back unchanged. See <https://docs.anthropic.com/en/api/messages-streaming>.

use brigade_core::Money;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::json::{self, Count, LooseObject};

/// One event of a stream. Its kind determines which fields are present.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type", deserialize_with = "json::loose")]
    pub(super) kind: Option<&'a str>,
    #[serde(deserialize_with = "json::loose")]
    pub(super) index: Option<usize>,
    #[serde(borrow)]
    pub(super) message: LooseObject<MessageObject<'a>>,
    #[serde(borrow)]
    pub(super) content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// A whole answer, or the start of one in a stream.
#[derive(Debug, Deserialize)]
pub(super) struct MessageObject<'a> {
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) model: Option<String>,
    /// A list of blocks; a string at some gateways.
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
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
    #[serde(default, deserialize_with = "json::loose")]
    pub(super) stop_reason: Option<String>,
}

/// The `delta` of `content_block_delta`.
#[derive(Debug, Default, Deserialize)]
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
/// In a stream they are running totals.
/// See <https://docs.anthropic.com/en/api/messages#response-usage>.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct UsageObject {
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
    /// Stated by routers in fields of their own.
    #[serde(skip)]
    pub(super) stated_cost: Option<Money>,
}

/// Cache writes by the lifetime of the cache entry.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct CacheCreation {
    #[serde(default)]
    pub(super) ephemeral_1h_input_tokens: Count,
}

/// The parts of the output count.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct OutputDetails {
    #[serde(default)]
    pub(super) thinking_tokens: Count,
}

/// Uses of tools that run at the provider.
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

impl UsageObject {
    /// Applies a later report. Totals do not fall; some gateways end with zeros.
    pub(super) fn update(&mut self, later: Self) {
        let input = [self.input_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens];
        let mut updated = input;
        updated[0].replace(later.input_tokens);
        updated[1].replace(later.cache_read_input_tokens);
        updated[2].replace(later.cache_creation_input_tokens);
        // Compared as a whole, because a token may turn out to have been cached.
        let sum = |counts: [Count; 3]| counts.into_iter().filter_map(Count::get).fold(0, u64::saturating_add);
        // A list of the samplings says more than the totals before it.
        if sum(updated) >= sum(input) || later.iterations.is_some() {
            [self.input_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens] = updated;
        }
        self.output_tokens.update(later.output_tokens);
        update(&mut self.cache_creation, later.cache_creation, |created| &mut created.ephemeral_1h_input_tokens);
        update(&mut self.output_tokens_details, later.output_tokens_details, |details| &mut details.thinking_tokens);
        update(&mut self.server_tool_use, later.server_tool_use, |tools| &mut tools.web_search_requests);
        self.stated_cost = self.stated_cost.max(later.stated_cost);
        self.service_tier = later.service_tier.or(self.service_tier.take());
        self.iterations = later.iterations.or(self.iterations.take());
    }

    /// Whether a count is impossible, such as a negative one.
    pub(super) fn is_implausible(&self) -> bool {
        let counts =
            [self.input_tokens, self.output_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens];
        counts.contains(&Count::Implausible)
    }

    /// Converts the counts; absent unless both input and output are known.
    ///
    /// Anthropic does not include cached tokens in `input_tokens`. Its top-level counts also leave out the extra
    /// samplings inside a call (compaction, an advisor), which are billed:
    /// <https://docs.anthropic.com/en/docs/build-with-claude/compaction#understanding-usage>.
    pub(super) fn to_usage(&self) -> Option<brigade_core::Usage> {
        let (uncached, output) = (self.input_tokens.get()?, self.output_tokens.get()?);
        let (read, write) = (self.cache_read_input_tokens.get(), self.cache_creation_input_tokens.get());
        let long_lived = self.cache_creation.and_then(|created| created.ephemeral_1h_input_tokens.get());
        let mut usage = brigade_core::Usage::new(total(uncached, read, write), output)
            .cache_read_tokens(read)
            .cache_write_tokens(write)
            .cache_write_1h_tokens(long_lived.map(|tokens| tokens.min(write.unwrap_or(0))))
            .reasoning_tokens(self.output_tokens_details.and_then(|details| details.thinking_tokens.get()))
            .web_searches(self.server_tool_use.and_then(|tools| tools.web_search_requests.get()))
            .stated_cost(self.stated_cost);
        for side in self.iterations.iter().flatten().filter(|iteration| iteration.is_side_work()) {
            usage += side.to_usage();
        }
        Some(usage)
    }
}

impl Iteration {
    /// Whether the top-level counts leave this sampling out.
    fn is_side_work(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| !matches!(kind, "message" | "fallback_message"))
    }

    fn to_usage(&self) -> brigade_core::Usage {
        let (read, write) = (self.cache_read_input_tokens.get(), self.cache_creation_input_tokens.get());
        brigade_core::Usage::new(
            total(self.input_tokens.get().unwrap_or(0), read, write),
            self.output_tokens.get().unwrap_or(0),
        )
        .cache_read_tokens(read)
        .cache_write_tokens(write)
    }
}

/// Applies a later report of an object with one count.
fn update<T: Copy>(object: &mut Option<T>, later: Option<T>, count: impl Fn(&mut T) -> &mut Count) {
    match (object.as_mut(), later) {
        (Some(object), Some(mut later)) => count(object).update(*count(&mut later)),
        (_, later) => *object = later.or(*object),
    }
}

fn total(uncached: u64, read: Option<u64>, write: Option<u64>) -> u64 {
    uncached.saturating_add(read.unwrap_or(0)).saturating_add(write.unwrap_or(0))
}
