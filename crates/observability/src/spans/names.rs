//! The names of spans' attributes and events.
//!
//! An attribute has the name from the OpenTelemetry conventions if there is one. All other names start with `brigade.`. See
//! <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md>.

use crate::Convention;

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
pub(super) const AGENT_NAME: &str = "gen_ai.agent.name";
pub(super) const TOOL_NAME: &str = "gen_ai.tool.name";
pub(super) const TOOL_TYPE: &str = "gen_ai.tool.type";
pub(super) const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
pub(super) const ERROR_TYPE: &str = "error.type";

/// Cost in US dollars as a float. It is in no convention, but several backends read it.
pub(super) const COST_USD: &str = "gen_ai.usage.cost";
/// The exact cost.
pub(super) const COST_NANO_USD: &str = "brigade.cost.nano_usd";
/// The certainty of the cost: `charged`, `estimated`, `uncertain`.
pub(super) const COST_CERTAINTY: &str = "brigade.cost.certainty";
/// The outcome in one word.
pub(super) const OUTCOME: &str = "brigade.outcome";
pub(super) const RUN_ID: &str = "brigade.run.id";
pub(super) const AGENT_PATH: &str = "brigade.agent.path";
pub(super) const TURN: &str = "brigade.turn";
pub(super) const TURNS: &str = "brigade.turns";
pub(super) const TOOL_CALLS: &str = "brigade.tool_calls";
/// A model as `provider/model`, where the names of the conventions would make a backend count its tokens twice.
pub(super) const MODEL: &str = "brigade.model";
pub(super) const ATTEMPT: &str = "brigade.attempt";
pub(super) const ATTEMPT_INPUT_TOKENS: &str = "brigade.attempt.input_tokens";
pub(super) const ATTEMPT_OUTPUT_TOKENS: &str = "brigade.attempt.output_tokens";

/// Tokens that were written to a prompt cache.
pub(super) const fn cache_write_tokens(convention: Convention) -> &'static str {
    match convention {
        Convention::ClientInference => "gen_ai.usage.cache_write.input_tokens",
        Convention::ClientOperation => "gen_ai.usage.cache_creation.input_tokens",
    }
}
