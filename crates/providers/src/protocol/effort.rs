//! Reasoning effort in OpenAI's APIs and in servers compatible with them.

use async_openai::types::chat::ReasoningEffort;
use brigade_core::{Effort, Reasoning};

/// The effort for a reasoning setting.
///
/// Token budgets map to efforts at the steps that routers use for models with budgets. "Off" is `none` from GPT-5.1 on;
/// the first GPT-5 models refuse that value, and `minimal` is their least.
/// <https://platform.openai.com/docs/guides/reasoning>
pub(crate) fn reasoning_effort(model: &str, reasoning: Reasoning) -> ReasoningEffort {
    match reasoning {
        Reasoning::Off | Reasoning::Budget(0) if refuses_none(model) => ReasoningEffort::Minimal,
        Reasoning::Off | Reasoning::Budget(0) => ReasoningEffort::None,
        Reasoning::Effort(Effort::Minimal) | Reasoning::Budget(1..=1_024) => ReasoningEffort::Minimal,
        Reasoning::Effort(Effort::Low) | Reasoning::Budget(1_025..=4_096) => ReasoningEffort::Low,
        Reasoning::Effort(Effort::Medium) | Reasoning::Budget(4_097..=16_384) => ReasoningEffort::Medium,
        Reasoning::Effort(Effort::High) | Reasoning::Budget(_) => ReasoningEffort::High,
        // The highest that all reasoning models accept.
        Reasoning::Effort(Effort::XHigh | Effort::Max) => ReasoningEffort::Xhigh,
    }
}

/// `gpt-5`, `gpt-5-mini`, `gpt-5-nano-2025-08-07`; neither `gpt-5.1` nor `gpt-50`.
fn refuses_none(model: &str) -> bool {
    model
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_prefix("gpt-5"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_and_efforts_map_to_efforts() {
        assert_eq!(reasoning_effort("m", Reasoning::Budget(2_000)), ReasoningEffort::Low);
        assert_eq!(reasoning_effort("m", Reasoning::Budget(60_000)), ReasoningEffort::High);
        assert_eq!(reasoning_effort("m", Reasoning::Effort(Effort::Max)), ReasoningEffort::Xhigh);
    }

    #[test]
    fn off_is_the_least_effort_that_the_model_accepts() {
        for model in ["gpt-5", "gpt-5-mini", "openai/gpt-5-nano-2025-08-07"] {
            assert_eq!(reasoning_effort(model, Reasoning::Off), ReasoningEffort::Minimal, "{model}");
        }
        for model in ["gpt-5.1", "gpt-5.6-luna", "gpt-50", "qwen3"] {
            assert_eq!(reasoning_effort(model, Reasoning::Off), ReasoningEffort::None, "{model}");
        }
    }
}
