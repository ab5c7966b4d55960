//! The tokens of a chat completion.

use async_openai::types::chat::CompletionUsage;
use brigade_core::Usage;
use schemars::JsonSchema;
use serde::Serialize;

/// Tokens of the agent and its workers. What no provider reported is left out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChatUsage {
    #[serde(flatten)]
    #[schemars(with = "CompletionUsageSchema")]
    totals: CompletionUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

/// The schema of `async-openai`'s type, which has none.
#[derive(JsonSchema)]
#[expect(dead_code, clippy::struct_field_names, reason = "only its schema is used")]
struct CompletionUsageSchema {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

impl From<&Usage> for ChatUsage {
    fn from(usage: &Usage) -> Self {
        let count = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        let totals = CompletionUsage {
            prompt_tokens: count(usage.input_tokens),
            completion_tokens: count(usage.output_tokens),
            total_tokens: count(usage.total_tokens()),
            ..CompletionUsage::default()
        };
        Self {
            totals,
            prompt_tokens_details: usage.cache_read_tokens.map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}
