//! Anthropic Messages.
//!
//! Follows <https://docs.anthropic.com/en/api/messages>. What differs from other protocols, and how it is met:
//!
//! - Instructions stand apart from the conversation. Tool results are user messages; all results of one turn go into
//!   the message right after the calls, before any words of the user.
//! - `max_tokens` is mandatory. Unless set, it leaves [`answer_tokens`] for the answer beside the reasoning, within what
//!   the model can do. The model's settings tell, so that budgets reserve what is sent.
//! - Reasoning is asked for by a token budget or by a degree, as the model wants it ([`Reasoning`] of the other form is
//!   translated). It is left out where the API forbids it: when a tool choice is forced, or when the tool calls in
//!   progress came without signed reasoning, as after a change of provider.
//! - Prompts are cached up to marks. With [`PromptCache`] on, these stand on the tools, the instructions and the last
//!   two messages of the user; the marks are spliced in, so that all other bytes are the same from turn to turn.
//! - A schema is enforced where the model can; for older ones it is put in words behind the instructions.
//!
//! [`PromptCache`]: brigade_core::PromptCache
//! [`Reasoning`]: brigade_core::Reasoning

use std::borrow::Cow;

use brigade_core::ModelError;
use http::{HeaderMap, HeaderName};

use crate::{
    account::{AccountError, Auth, key_from_env},
    client::{Client, ClientBuilder, Model},
    protocol::{Protocol, Question},
};

mod blocks;
mod decode;
mod encode;
mod wire;

/// The name of this wire format in [`brigade_core::Dialect`] and [`brigade_core::ProviderData`].
pub const DIALECT: &str = "anthropic-messages";

/// Room for the answer itself when a request sets no limit: some 6,000 words.
pub const DEFAULT_ANSWER_TOKENS: u32 = 8_192;

/// An account at Anthropic, or at a server that speaks its protocol.
pub type Anthropic = Client<Messages>;

/// A model of such an account.
pub type AnthropicModel = Model<Messages>;

/// The protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages;

/// What a generation of models accepts.
///
/// Sources: the `capabilities` in <https://docs.anthropic.com/en/api/models-list> and the pages on
/// [extended](https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking) and
/// [adaptive](https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking) thinking,
/// [effort](https://docs.anthropic.com/en/docs/build-with-claude/effort) and
/// [structured outputs](https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Family {
    /// The most that `max_tokens` may be.
    max_output_tokens: u32,
    thinking: ThinkingForm,
    effort: EffortLevels,
    /// Whether answers and tool arguments can be held to a schema.
    schemas: bool,
    sampling: Sampling,
}

/// How a model can be asked to reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ThinkingForm {
    No,
    Budget,
    BudgetOrAdaptive,
    /// The model decides how much, once it is asked to.
    Adaptive,
    /// It does so unless it is asked not to.
    AdaptiveByDefault,
    /// It cannot be asked not to.
    AdaptiveAlways,
}

/// Which degrees of `output_config.effort` there are beside low, medium and high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EffortLevels {
    No,
    ToHigh,
    WithMax,
    WithXHighAndMax,
}

/// Which of `temperature` and `top_p` may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampling {
    Both,
    OneOfThem,
    Neither,
}

impl Family {
    const CLAUDE_3: Self = Self {
        max_output_tokens: 4_096,
        thinking: ThinkingForm::No,
        effort: EffortLevels::No,
        schemas: false,
        sampling: Sampling::Both,
    };
    const CLAUDE_3_5: Self = Self { max_output_tokens: 8_192, ..Self::CLAUDE_3 };
    const CLAUDE_3_7: Self = Self { max_output_tokens: 64_000, thinking: ThinkingForm::Budget, ..Self::CLAUDE_3 };
    const OPUS_4: Self = Self { max_output_tokens: 32_000, ..Self::CLAUDE_3_7 };
    const OPUS_4_1: Self = Self { schemas: true, sampling: Sampling::OneOfThem, ..Self::OPUS_4 };
    const CLAUDE_4_5: Self = Self { max_output_tokens: 64_000, ..Self::OPUS_4_1 };
    const OPUS_4_5: Self = Self { effort: EffortLevels::ToHigh, ..Self::CLAUDE_4_5 };
    const CLAUDE_4_6: Self = Self {
        max_output_tokens: 128_000,
        thinking: ThinkingForm::BudgetOrAdaptive,
        effort: EffortLevels::WithMax,
        ..Self::CLAUDE_4_5
    };
    const CLAUDE_4_7: Self = Self {
        thinking: ThinkingForm::Adaptive,
        effort: EffortLevels::WithXHighAndMax,
        sampling: Sampling::Neither,
        ..Self::CLAUDE_4_6
    };
    /// Also assumed of models newer than this table.
    const CLAUDE_5: Self = Self { thinking: ThinkingForm::AdaptiveByDefault, ..Self::CLAUDE_4_7 };
    const FABLE: Self = Self { thinking: ThinkingForm::AdaptiveAlways, ..Self::CLAUDE_5 };
    /// Servers of other vendors that speak this protocol, with what all of them know.
    const OTHER_VENDOR: Self = Self { max_output_tokens: 64_000, ..Self::CLAUDE_3_7 };

    /// Names as they are found in model names, also behind a cloud's prefix; the first that fits counts.
    const NAMES: [(&str, Self); 25] = [
        ("claude-2", Self::CLAUDE_3),
        ("claude-instant", Self::CLAUDE_3),
        ("claude-3-7", Self::CLAUDE_3_7),
        ("claude-3.7", Self::CLAUDE_3_7),
        ("claude-3-5", Self::CLAUDE_3_5),
        ("claude-3.5", Self::CLAUDE_3_5),
        ("claude-3", Self::CLAUDE_3),
        ("opus-4-6", Self::CLAUDE_4_6),
        ("sonnet-4-6", Self::CLAUDE_4_6),
        ("opus-4-5", Self::OPUS_4_5),
        ("sonnet-4-5", Self::CLAUDE_4_5),
        ("haiku-4-5", Self::CLAUDE_4_5),
        ("opus-4-1", Self::OPUS_4_1),
        ("opus-4-0", Self::OPUS_4),
        ("opus-4-2025", Self::OPUS_4),
        ("opus-4@", Self::OPUS_4),
        ("sonnet-4-0", Self::CLAUDE_3_7),
        ("sonnet-4-2025", Self::CLAUDE_3_7),
        ("sonnet-4@", Self::CLAUDE_3_7),
        ("opus-4-7", Self::CLAUDE_4_7),
        ("opus-4-8", Self::CLAUDE_4_7),
        ("opus-5-5", Self::FABLE),
        ("fable", Self::FABLE),
        ("mythos", Self::FABLE),
        ("claude", Self::CLAUDE_5),
    ];

    fn of(model: &str) -> Self {
        let known = Self::NAMES.iter().find(|(name, _)| model.contains(name));
        known.map_or(Self::OTHER_VENDOR, |(_, family)| *family)
    }
}

/// Room for the answer of this model when a request sets no limit: [`DEFAULT_ANSWER_TOKENS`], and as much again for a
/// model that reasons without being asked to, within what it can do.
pub fn answer_tokens(model: &str) -> u32 {
    let family = Family::of(model);
    let unasked = if family.thinks_unasked() { DEFAULT_ANSWER_TOKENS } else { 0 };
    family.max_output_tokens.min(DEFAULT_ANSWER_TOKENS + unasked)
}

impl Anthropic {
    /// The account whose key is in `ANTHROPIC_API_KEY`, at `ANTHROPIC_BASE_URL` if that is set.
    pub fn from_env() -> Result<Self, AccountError> {
        let builder = Self::builder().api_key(key_from_env("ANTHROPIC_API_KEY")?);
        match std::env::var("ANTHROPIC_BASE_URL") {
            Ok(url) if !url.trim().is_empty() => builder.base_url(url).build(),
            _ => builder.build(),
        }
    }

    /// Sets an account up, called `anthropic` and at Anthropic's own address unless told otherwise. The base URL is
    /// written as the vendor's own clients want it, without `/v1`. Beta features are asked for with
    /// `.header("anthropic-beta", "…")`.
    pub fn builder() -> ClientBuilder<Messages> {
        let mut builder = ClientBuilder::new(Messages, "anthropic", "https://api.anthropic.com");
        builder.auth = Auth::Header("x-api-key");
        builder.header("anthropic-version", "2023-06-01")
    }
}

impl Protocol for Messages {
    type Assembly = decode::Assembly;

    const CLIENT_REQUEST_ID: Option<HeaderName> = None;

    fn path(&self, _model: &str) -> Cow<'static, str> {
        "v1/messages".into()
    }

    fn probe_path(&self) -> Cow<'static, str> {
        "v1/models?limit=1".into()
    }

    fn answer_tokens(&self, model: &str) -> Option<u32> {
        Some(answer_tokens(model))
    }

    fn encode(&self, question: &Question<'_>) -> Result<Vec<u8>, ModelError> {
        Ok(encode::body(question))
    }

    fn headers(&self, _question: &Question<'_>, _headers: &mut HeaderMap) {}

    fn assembly(&self) -> Self::Assembly {
        decode::Assembly::default()
    }
}
