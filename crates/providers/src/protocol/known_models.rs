//! What models that are known by name refuse in OpenAI's protocols, at every server that offers them.

use async_openai::types::chat::ReasoningEffort;
use brigade_core::{Effort, Reasoning, Settings};

/// The name without the prefix of a vendor or cloud.
fn bare(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("openai.").or_else(|| name.strip_prefix("ft:")).unwrap_or(name)
}

/// Whether a model may reason. Unknown models may. Models that cannot refuse every field about reasoning.
pub(crate) fn can_reason(model: &str) -> bool {
    const WITHOUT: [&str; 32] = [
        "gpt-3",
        "gpt-4",
        "chatgpt",
        "gpt-5-chat",
        "computer-use",
        "llama",
        "meta-llama",
        "codellama",
        "gemma2",
        "gemma-2",
        "gemma3",
        "gemma-3",
        "mixtral",
        "mistral:",
        "mistral-7b",
        "mistral-nemo",
        "open-mistral",
        "codestral",
        "phi3",
        "phi-3",
        "qwen2",
        "command",
        "claude-2",
        "devstral",
        "ministral",
        "mistral-large",
        "mistral-tiny",
        "open-mixtral",
        "pixtral",
        "moonshot",
        "claude-3-5",
        "claude-3.5",
    ];
    let name = bare(model).to_ascii_lowercase();
    !WITHOUT.iter().any(|start| name.starts_with(start))
}

/// An OpenAI model that reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reasoner<'m> {
    /// `o1`, `o3-mini`, `o4-mini`, …
    O,
    /// `gpt-5` and later, with the minor version and the variant, such as `codex` or `pro`.
    Gpt5 { minor: u32, variant: &'m str },
}

impl<'m> Reasoner<'m> {
    fn of(model: &'m str) -> Option<Self> {
        let name = bare(model);
        let ends = |rest: &str| rest.is_empty() || rest.starts_with(['-', ':']);
        if ["o1", "o3", "o4"].iter().any(|series| name.strip_prefix(series).is_some_and(ends)) {
            return Some(Self::O);
        }
        let rest = name.strip_prefix("gpt-5").filter(|rest| !rest.starts_with("-chat"))?;
        let (minor, rest) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("0", rest),
        };
        let minor = minor.parse().ok().filter(|_| ends(rest))?;
        Some(Self::Gpt5 { minor, variant: rest.trim_start_matches('-') })
    }
}

/// The settings that the model refuses if it reasons as requested. From GPT-5.1 on, sampling can be set while the effort
/// is `none`, which is the default of some. <https://platform.openai.com/docs/guides/latest-model>
pub(crate) fn refused(model: &str, settings: &Settings) -> Vec<&'static str> {
    let mut refused = fixed(model, settings.reasoning).to_vec();
    // The default is accepted everywhere.
    refused.retain(|name| *name != "temperature" || settings.temperature != Some(1.0));
    if !can_reason(model) {
        refused.push("reasoning");
    }
    refused
}

fn fixed(model: &str, reasoning: Option<Reasoning>) -> &'static [&'static str] {
    // The `o` models refuse all of them, later ones all but the first.
    const REFUSED: &[&str] = &[
        "parallel_tool_calls",
        "stop",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "logprobs",
        "top_logprobs",
        "logit_bias",
    ];
    const FIXED: &[&str] = REFUSED.split_at(1).1;
    match Reasoner::of(model) {
        None => &[],
        Some(Reasoner::O) => REFUSED,
        Some(Reasoner::Gpt5 { minor, variant }) => {
            let off = matches!(reasoning, Some(Reasoning::Off | Reasoning::Budget(0)))
                || (reasoning.is_none() && matches!(minor, 1 | 2 | 4));
            let varies = minor > 0 && off && !variant.starts_with("codex") && !variant.starts_with("pro");
            if varies { &["stop"] } else { FIXED }
        }
    }
}

/// The efforts that the model accepts, from the least. <https://platform.openai.com/docs/guides/reasoning>
fn efforts(model: &str) -> &'static [ReasoningEffort] {
    use ReasoningEffort::{High, Low, Medium, Minimal, None, Xhigh};
    match Reasoner::of(model) {
        Some(Reasoner::Gpt5 { minor: 0, variant }) if variant.starts_with("pro") => &[High],
        Some(Reasoner::Gpt5 { variant, .. }) if variant.starts_with("pro") => &[Medium, High, Xhigh],
        Some(Reasoner::Gpt5 { variant, .. }) if variant.starts_with("codex-max") => &[Low, Medium, High, Xhigh],
        Some(Reasoner::Gpt5 { minor: 0 | 1, variant }) if variant.starts_with("codex") => &[Low, Medium, High],
        Some(Reasoner::Gpt5 { minor: 0, .. }) => &[Minimal, Low, Medium, High],
        Some(Reasoner::Gpt5 { minor: 1, .. }) => &[None, Low, Medium, High],
        Some(Reasoner::Gpt5 { .. }) => &[None, Low, Medium, High, Xhigh],
        Some(Reasoner::O) => &[Low, Medium, High],
        // What servers of other vendors have in common.
        Option::None if bare(model).starts_with("gpt-oss") => &[Low, Medium, High],
        Option::None => &[None, Low, Medium, High],
    }
}

/// The effort for a reasoning setting: the nearest that the model accepts.
///
/// Token budgets map to efforts at the steps that routers use for models with budgets.
pub(crate) fn reasoning_effort(model: &str, reasoning: Reasoning) -> ReasoningEffort {
    let rank = |effort: &ReasoningEffort| -> usize {
        match effort {
            ReasoningEffort::None => 0,
            ReasoningEffort::Minimal => 1,
            ReasoningEffort::Low => 2,
            ReasoningEffort::Medium => 3,
            ReasoningEffort::High => 4,
            ReasoningEffort::Xhigh | ReasoningEffort::Max => 5,
        }
    };
    let wanted = match reasoning {
        Reasoning::Off | Reasoning::Budget(0) => 0,
        Reasoning::Effort(Effort::Minimal) | Reasoning::Budget(1..=1_024) => 1,
        Reasoning::Effort(Effort::Low) | Reasoning::Budget(1_025..=4_096) => 2,
        Reasoning::Effort(Effort::Medium) | Reasoning::Budget(4_097..=16_384) => 3,
        Reasoning::Effort(Effort::High) | Reasoning::Budget(_) => 4,
        Reasoning::Effort(Effort::XHigh | Effort::Max) => 5,
    };
    // A model that should reason a little must not be told to reason not at all, so the higher of two neighbours wins.
    let distance = |effort: &&ReasoningEffort| 2 * rank(effort).abs_diff(wanted) + usize::from(rank(effort) < wanted);
    efforts(model).iter().min_by_key(distance).cloned().unwrap_or(ReasoningEffort::Medium)
}
