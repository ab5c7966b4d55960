//! How a model should answer.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::RawJson;

/// How a model should answer. What is absent is left to the provider's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Whether and which tools may be called.
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// A JSON Schema that the answer must match.
    pub output: Option<OutputSchema>,
    /// The most tokens that may be generated, reasoning included.
    pub max_output_tokens: Option<u32>,
    /// The most tokens of the answer itself, where `max_output_tokens` says nothing; what is asked for in reasoning comes on
    /// top. Clients whose provider insists on a limit set it.
    pub answer_tokens: Option<u32>,
    /// Randomness, from 0 to 2 (Anthropic: to 1).
    pub temperature: Option<f32>,
    /// Nucleus sampling, from 0 to 1.
    pub top_p: Option<f32>,
    /// Texts at which generation ends.
    pub stop_sequences: Vec<String>,
    /// Asks for repeatable sampling where the provider offers it.
    pub seed: Option<u64>,
    /// How much to reason before the answer.
    pub reasoning: Option<Reasoning>,
    /// Groups requests that share a prompt prefix (OpenAI `prompt_cache_key`).
    pub prompt_cache_key: Option<String>,
    /// Whether stable prefixes are marked for caching where the provider wants marks (Anthropic `cache_control`).
    pub prompt_cache: PromptCache,
    /// Such as `auto`, `default`, `flex`, `priority`.
    pub service_tier: Option<String>,
    /// An opaque id of the end user, for the provider's abuse detection.
    pub user: Option<String>,
    /// Labels that the provider stores with the request.
    pub metadata: BTreeMap<String, String>,
    /// Further fields of the provider's request, merged into it as they are.
    pub extra: BTreeMap<String, RawJson>,
}

/// Whether and which tools a model may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None. The tools stay in the request: histories that used them need them, and prompt caches too.
    None,
    /// At least one.
    Required,
    /// This one.
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
    /// A degree. Models with token budgets get one that fits it.
    Effort(Effort),
}

/// Degrees of reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say all there is to say")]
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
    /// Instructions, tools and the conversation so far, with the provider's short life (Anthropic: 5 minutes).
    #[default]
    Auto,
    /// The same with a life of one hour, where offered.
    OneHour,
    /// No marks.
    Off,
}

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSchema {
    /// A short name, `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// A JSON Schema.
    pub schema: RawJson,
    /// Whether the provider should enforce it while generating, where it can. It is checked afterwards in any case.
    pub strict: bool,
}

impl Settings {
    /// Nothing said.
    pub fn none() -> &'static Self {
        static NONE: Settings = Settings {
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: None,
            output: None,
            max_output_tokens: None,
            answer_tokens: None,
            temperature: None,
            top_p: None,
            stop_sequences: Vec::new(),
            seed: None,
            reasoning: None,
            prompt_cache_key: None,
            prompt_cache: PromptCache::Auto,
            service_tier: None,
            user: None,
            metadata: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        &NONE
    }

    /// The limit of output that is sent with a request of these settings; absent where none is. Whoever sends it and
    /// whoever reserves it goes by this.
    pub fn output_limit(&self) -> Option<u32> {
        self.output_limit_over(Self::none())
    }

    /// The same of these settings [`over`](Settings::over) `defaults`.
    pub fn output_limit_over(&self, defaults: &Self) -> Option<u32> {
        let reasoning = || self.reasoning.or(defaults.reasoning).map_or(0, Reasoning::tokens);
        let answer_tokens = self.answer_tokens.or(defaults.answer_tokens);
        let roomy = answer_tokens.map(|tokens| tokens.saturating_add(reasoning()));
        self.max_output_tokens.or(defaults.max_output_tokens).or(roomy)
    }

    /// What these settings say, and where they say nothing, what `defaults` say.
    pub fn over<'a>(&'a self, defaults: &'a Self) -> Cow<'a, Self> {
        if defaults == Self::none() {
            return Cow::Borrowed(self);
        }
        if self == Self::none() {
            return Cow::Borrowed(defaults);
        }
        let Self {
            tool_choice,
            parallel_tool_calls,
            output,
            max_output_tokens,
            answer_tokens,
            temperature,
            top_p,
            stop_sequences,
            seed,
            reasoning,
            prompt_cache_key,
            prompt_cache,
            service_tier,
            user,
            metadata,
            extra,
        } = self.clone();
        let defaults = defaults.clone();
        Cow::Owned(Self {
            tool_choice: if tool_choice == ToolChoice::Auto { defaults.tool_choice } else { tool_choice },
            parallel_tool_calls: parallel_tool_calls.or(defaults.parallel_tool_calls),
            output: output.or(defaults.output),
            max_output_tokens: max_output_tokens.or(defaults.max_output_tokens),
            answer_tokens: answer_tokens.or(defaults.answer_tokens),
            temperature: temperature.or(defaults.temperature),
            top_p: top_p.or(defaults.top_p),
            stop_sequences: if stop_sequences.is_empty() { defaults.stop_sequences } else { stop_sequences },
            seed: seed.or(defaults.seed),
            reasoning: reasoning.or(defaults.reasoning),
            prompt_cache_key: prompt_cache_key.or(defaults.prompt_cache_key),
            prompt_cache: if prompt_cache == PromptCache::Auto { defaults.prompt_cache } else { prompt_cache },
            service_tier: service_tier.or(defaults.service_tier),
            user: user.or(defaults.user),
            metadata: defaults.metadata.into_iter().chain(metadata).collect(),
            extra: defaults.extra.into_iter().chain(extra).collect(),
        })
    }
}

impl Reasoning {
    /// About how many tokens it may take.
    pub const fn tokens(self) -> u32 {
        match self {
            Self::Off => 0,
            Self::Budget(tokens) => tokens,
            Self::Effort(effort) => effort.tokens(),
        }
    }
}

impl Effort {
    /// A budget that fits the degree, as vendors' clients commonly translate it; above 32,000 tokens Anthropic advises
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
    /// The schema as serde sees it.
    pub fn raw(&self) -> &RawValue {
        self.schema.as_raw()
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
    fn the_request_wins_where_it_says_something() {
        let defaults = Settings { max_output_tokens: Some(10), temperature: Some(0.5), ..extra("top_k", "1") };
        let request = Settings { temperature: Some(0.0), ..extra("min_p", "2") };
        let merged = request.over(&defaults);
        assert_eq!((merged.max_output_tokens, merged.temperature), (Some(10), Some(0.0)));
        assert_eq!(merged.extra.keys().collect::<Vec<_>>(), ["min_p", "top_k"]);
    }

    #[test]
    fn reasoning_comes_on_top_of_the_room_for_the_answer_and_within_an_explicit_limit() {
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

    #[test]
    fn nothing_is_copied_where_one_side_is_silent() {
        let request = extra("a", "1");
        assert!(matches!(request.over(Settings::none()), Cow::Borrowed(_)));
        assert!(matches!(Settings::none().over(&request), Cow::Borrowed(_)));
    }
}
