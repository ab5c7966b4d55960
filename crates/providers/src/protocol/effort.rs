//! Reasoning effort in OpenAI's words, which its look-alikes understand too.

use brigade_core::{Effort, Reasoning};

/// The word for a degree or a number of tokens.
///
/// The steps of tokens are those that routers use for models with budgets. "Not at all" is `none` from GPT-5.1 on; the
/// first GPT-5 models refuse that word, and `minimal` is the least that they know.
/// <https://platform.openai.com/docs/guides/reasoning>
pub(crate) fn effort_name(model: &str, reasoning: Reasoning) -> &'static str {
    match reasoning {
        Reasoning::Off | Reasoning::Budget(0) if knows_no_none(model) => "minimal",
        Reasoning::Off | Reasoning::Budget(0) => "none",
        Reasoning::Effort(Effort::Minimal) | Reasoning::Budget(1..=1_024) => "minimal",
        Reasoning::Effort(Effort::Low) | Reasoning::Budget(1_025..=4_096) => "low",
        Reasoning::Effort(Effort::Medium) | Reasoning::Budget(4_097..=16_384) => "medium",
        Reasoning::Effort(Effort::High) | Reasoning::Budget(_) => "high",
        // The highest there is.
        Reasoning::Effort(Effort::XHigh | Effort::Max) => "xhigh",
    }
}

/// `gpt-5`, `gpt-5-mini`, `gpt-5-nano-2025-08-07`; neither `gpt-5.1` nor `gpt-50`.
fn knows_no_none(model: &str) -> bool {
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
    fn budgets_and_degrees_have_words() {
        assert_eq!(effort_name("m", Reasoning::Budget(2_000)), "low");
        assert_eq!(effort_name("m", Reasoning::Budget(60_000)), "high");
        assert_eq!(effort_name("m", Reasoning::Effort(Effort::Max)), "xhigh");
    }

    #[test]
    fn reasoning_is_turned_off_in_the_word_that_the_model_knows() {
        for model in ["gpt-5", "gpt-5-mini", "openai/gpt-5-nano-2025-08-07"] {
            assert_eq!(effort_name(model, Reasoning::Off), "minimal", "{model}");
        }
        for model in ["gpt-5.1", "gpt-5.6-luna", "gpt-50", "qwen3"] {
            assert_eq!(effort_name(model, Reasoning::Off), "none", "{model}");
        }
    }
}
