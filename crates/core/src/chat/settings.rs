//! Settings that control how a model answers.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::RawJson;

/// Controls how a model answers. The provider's default applies to absent settings.
///
/// ```
/// use brigade_core::{Reasoning, Settings};
///
/// let settings = Settings::default().answer_tokens(Some(8_000)).reasoning(Some(Reasoning::Budget(2_000)));
/// assert_eq!(settings.output_limit(), Some(10_000));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Whether and which tools may be called.
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// A JSON Schema that the answer must match.
    pub output: Option<OutputSchema>,
    /// The most tokens that may be generated, reasoning included.
    pub max_output_tokens: Option<u32>,
    /// The most tokens of the answer without its reasoning; the tokens for the reasoning are added. It applies if
    /// `max_output_tokens` is absent. Clients of providers that require a limit set it by default.
    pub answer_tokens: Option<u32>,
    /// Randomness, from 0 to 2 (Anthropic: to 1).
    pub temperature: Option<f32>,
    /// Nucleus sampling, from 0 to 1.
    pub top_p: Option<f32>,
    /// Texts at which generation ends.
    pub stop_sequences: Vec<String>,
    /// Asks for repeatable sampling, if the provider offers it.
    pub seed: Option<u64>,
    /// How much to reason before the answer.
    pub reasoning: Option<Reasoning>,
    /// Groups requests that share a prompt prefix (OpenAI `prompt_cache_key`).
    pub prompt_cache_key: Option<String>,
    /// Whether stable prefixes are marked for caching, if the provider needs marks (Anthropic `cache_control`).
    pub prompt_cache: PromptCache,
    /// For example `auto`, `default`, `flex` or `priority`.
    pub service_tier: Option<String>,
    /// An opaque id of the end user, for the provider's abuse detection.
    pub user: Option<String>,
    /// Labels that the provider stores with the request.
    pub metadata: BTreeMap<String, String>,
    /// Further fields of the provider's request, added to it unchanged.
    pub extra: BTreeMap<String, RawJson>,
}

/// Whether and which tools a model may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None. The tools stay in the request, because prompt caches and earlier tool calls depend on them.
    None,
    /// At least one.
    Required,
    /// The tool with this name.
    Named(String),
}

/// How much a model should reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// At most this many tokens.
    Budget(u32),
    /// A degree. Clients of models with token budgets send [`Effort::tokens`] instead.
    Effort(Effort),
}

/// A degree of reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the vendors' own")]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

/// Whether stable prefixes are marked for the provider's prompt cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptCache {
    /// Marks instructions, tools and the conversation so far, with the provider's short lifetime (Anthropic: 5 minutes).
    #[default]
    Auto,
    /// The same with a lifetime of one hour, if the provider offers it.
    OneHour,
    /// Sets no marks.
    Off,
}

/// The JSON Schema that an answer must match.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputSchema {
    /// A short name, `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// The JSON Schema.
    pub schema: RawJson,
    /// Whether the provider should enforce the schema while generating, if it can. The agent checks the answer in any
    /// case. False by default, because providers accept only some schemas.
    pub strict: bool,
}

setters!(Settings {
    tool_choice: ToolChoice,
    parallel_tool_calls: Option<bool>,
    output: Option<OutputSchema>,
    max_output_tokens: Option<u32>,
    answer_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    stop_sequences: Vec<String>,
    seed: Option<u64>,
    reasoning: Option<Reasoning>,
    prompt_cache_key: Option<String>,
    prompt_cache: PromptCache,
    service_tier: Option<String>,
    user: Option<String>,
    metadata: BTreeMap<String, String>,
    extra: BTreeMap<String, RawJson>,
});

setters!(OutputSchema { strict: bool });

impl Settings {
    /// The default settings, for models that return a reference to their settings.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Settings> = LazyLock::new(Settings::default);
        &NONE
    }

    /// The limit of output tokens that is sent with a request. Absent if the settings have no limit.
    pub fn output_limit(&self) -> Option<u32> {
        let reasoning = self.reasoning.map_or(0, Reasoning::tokens);
        self.max_output_tokens.or(self.answer_tokens.map(|tokens| tokens.saturating_add(reasoning)))
    }

    /// These settings, with `defaults` in place of absent ones.
    #[must_use]
    pub fn over(&self, defaults: &Self) -> Self {
        let (own, defaults) = (self.clone(), defaults.clone());
        Self {
            tool_choice: if own.tool_choice == ToolChoice::Auto { defaults.tool_choice } else { own.tool_choice },
            parallel_tool_calls: own.parallel_tool_calls.or(defaults.parallel_tool_calls),
            output: own.output.or(defaults.output),
            max_output_tokens: own.max_output_tokens.or(defaults.max_output_tokens),
            answer_tokens: own.answer_tokens.or(defaults.answer_tokens),
            temperature: own.temperature.or(defaults.temperature),
            top_p: own.top_p.or(defaults.top_p),
            stop_sequences: if own.stop_sequences.is_empty() { defaults.stop_sequences } else { own.stop_sequences },
            seed: own.seed.or(defaults.seed),
            reasoning: own.reasoning.or(defaults.reasoning),
            prompt_cache_key: own.prompt_cache_key.or(defaults.prompt_cache_key),
            prompt_cache: if own.prompt_cache == PromptCache::Auto { defaults.prompt_cache } else { own.prompt_cache },
            service_tier: own.service_tier.or(defaults.service_tier),
            user: own.user.or(defaults.user),
            metadata: defaults.metadata.into_iter().chain(own.metadata).collect(),
            extra: defaults.extra.into_iter().chain(own.extra).collect(),
        }
    }
}

impl Reasoning {
    /// The tokens that the reasoning is expected to take at most.
    pub const fn tokens(self) -> u32 {
        match self {
            Self::Off => 0,
            Self::Budget(tokens) => tokens,
            Self::Effort(effort) => effort.tokens(),
        }
    }
}

impl Effort {
    /// The token budget that vendors' clients commonly use for this degree. Above 32,000 tokens Anthropic recommends
    /// batches.
    pub const fn tokens(self) -> u32 {
        match self {
            Self::Minimal => 1_024,
            Self::Low => 2_048,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh => 24_576,
            Self::Max => 32_000,
        }
    }
}

impl OutputSchema {
    /// A schema that is checked after the answer, not enforced by the provider.
    pub fn new(name: impl Into<String>, schema: RawJson) -> Self {
        Self { name: name.into(), schema, strict: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(key: &str, json: &str) -> Settings {
        let json = RawJson::parse(json.to_owned()).unwrap();
        Settings { extra: [(key.to_owned(), json)].into(), ..Settings::default() }
    }

    #[test]
    fn settings_of_the_request_take_precedence() {
        let defaults = Settings { max_output_tokens: Some(10), temperature: Some(0.5), ..extra("top_k", "1") };
        let request = Settings { temperature: Some(0.0), ..extra("min_p", "2") };
        let merged = request.over(&defaults);
        assert_eq!((merged.max_output_tokens, merged.temperature), (Some(10), Some(0.0)));
        assert_eq!(merged.extra.keys().collect::<Vec<_>>(), ["min_p", "top_k"]);
    }

    #[test]
    fn reasoning_is_added_to_the_answer_tokens_but_not_to_an_explicit_limit() {
        let settings = |max, reasoning| Settings {
            max_output_tokens: max,
            answer_tokens: Some(8_000),
            reasoning,
            ..Settings::default()
        };
        assert_eq!(settings(None, None).output_limit(), Some(8_000));
        assert_eq!(settings(None, Some(Reasoning::Budget(2_000))).output_limit(), Some(10_000));
        assert_eq!(settings(None, Some(Reasoning::Effort(Effort::Low))).output_limit(), Some(10_048));
        assert_eq!(settings(Some(500), Some(Reasoning::Budget(2_000))).output_limit(), Some(500));
        assert_eq!(Settings::default().output_limit(), None);
    }
}
