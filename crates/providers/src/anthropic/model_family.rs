//! What each generation of Claude models accepts.

use brigade_core::{Effort, OutputSchema, Reasoning, Settings, ToolChoice};

/// The answer limit, in tokens, of a request that sets none: about 6,000 words.
pub(super) const DEFAULT_ANSWER_TOKENS: u32 = 8_192;

/// What a generation of models accepts.
///
/// Sources: the `capabilities` in <https://docs.anthropic.com/en/api/models-list> and the pages on
/// [extended](https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking) and
/// [adaptive](https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking) thinking,
/// [effort](https://docs.anthropic.com/en/docs/build-with-claude/effort) and
/// [structured outputs](https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelFamily {
    /// The maximum of `max_tokens`.
    pub(super) max_output_tokens: u32,
    pub(super) thinking: ThinkingForm,
    pub(super) effort: EffortLevels,
    /// Whether the API enforces schemas of answers and tool arguments.
    pub(super) schemas: bool,
    pub(super) sampling: Sampling,
}

/// How a request asks the model to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingForm {
    No,
    Budget,
    BudgetOrAdaptive,
    /// The model decides how much, if the request enables thinking.
    Adaptive,
    /// Adaptive, and enabled unless the request disables it.
    AdaptiveByDefault,
    /// Adaptive, and cannot be disabled.
    AdaptiveAlways,
}

/// Which levels of `output_config.effort` exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EffortLevels {
    No,
    /// Low, medium and high.
    ToHigh,
    /// `low`, `medium`, `high` and `max`.
    WithMax,
    /// `low`, `medium`, `high`, `xhigh` and `max`.
    WithXHighAndMax,
}

/// Which of `temperature` and `top_p` may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampling {
    Both,
    OneOfThem,
    Neither,
}

impl ModelFamily {
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
    /// Also assumed for models newer than this table.
    const CLAUDE_5: Self = Self { thinking: ThinkingForm::AdaptiveByDefault, ..Self::CLAUDE_4_7 };
    const FABLE: Self = Self { thinking: ThinkingForm::AdaptiveAlways, ..Self::CLAUDE_5 };
    /// Servers of other vendors that speak this protocol: what all of them accept.
    const OTHER_VENDOR: Self = Self { max_output_tokens: 64_000, ..Self::CLAUDE_3_7 };

    /// Parts of model names, which may follow a cloud's prefix. The first match counts.
    pub(super) const NAMES: [(&str, Self); 25] = [
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

    pub(super) fn of(model: &str) -> Self {
        let known = Self::NAMES.iter().find(|(name, _)| model.contains(name));
        known.map_or(Self::OTHER_VENDOR, |(_, family)| *family)
    }
}

/// The default `max_tokens` of a model, which the API requires: 8,192, and twice that for a model that thinks by
/// default. Never more than the model's maximum.
pub fn anthropic_answer_tokens(model: &str) -> u32 {
    let family = ModelFamily::of(model);
    let thinking = if family.thinks_by_default() { DEFAULT_ANSWER_TOKENS } else { 0 };
    family.max_output_tokens.min(DEFAULT_ANSWER_TOKENS + thinking)
}

impl ModelFamily {
    /// The settings that these models refuse, alone or beside thinking.
    pub(super) fn refused(self, settings: &Settings) -> &'static [&'static str] {
        // A forced tool call turns thinking off.
        let thinks = settings.reasoning.is_some_and(|reasoning| reasoning != Reasoning::Off)
            && matches!(settings.tool_choice, ToolChoice::Auto | ToolChoice::None);
        match (self.sampling, self.thinking) {
            (Sampling::Neither, _) => &["temperature", "top_p", "top_k"],
            (Sampling::Both | Sampling::OneOfThem, ThinkingForm::No) => &["reasoning"],
            (Sampling::Both | Sampling::OneOfThem, _) if thinks => &["temperature", "top_k"],
            (Sampling::OneOfThem, _) if settings.temperature.is_some() => &["top_p"],
            (Sampling::Both | Sampling::OneOfThem, _) => &[],
        }
    }

    /// Whether the API enforces this schema.
    pub(super) fn enforces(self, output: &OutputSchema) -> bool {
        self.schemas && output.strict
    }

    /// Whether the model thinks unless a request disables it.
    fn thinks_by_default(self) -> bool {
        matches!(self.thinking, ThinkingForm::AdaptiveByDefault | ThinkingForm::AdaptiveAlways)
    }

    /// The nearest effort level that the model accepts.
    pub(super) fn effort_name(self, effort: Effort) -> Option<&'static str> {
        let high_or = |level, supported: bool| Some(if supported { level } else { "high" });
        match (self.effort, effort) {
            (EffortLevels::No, _) => None,
            (_, Effort::Minimal | Effort::Low) => Some("low"),
            (_, Effort::Medium) => Some("medium"),
            (_, Effort::High) => Some("high"),
            (levels, Effort::XHigh) => high_or("xhigh", levels == EffortLevels::WithXHighAndMax),
            (levels, Effort::Max) => high_or("max", levels != EffortLevels::ToHigh),
        }
    }
}
