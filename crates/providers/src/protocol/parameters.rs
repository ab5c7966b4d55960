//! Settings by their names in requests.

use std::mem;

use brigade_core::Settings;

/// Removes the setting `name`. Returns whether it was set.
pub(crate) fn leave_out(settings: &mut Settings, name: &str) -> bool {
    match name {
        "temperature" => settings.temperature.take().is_some(),
        "top_p" => settings.top_p.take().is_some(),
        "stop" => !mem::take(&mut settings.stop_sequences).is_empty(),
        "seed" => settings.seed.take().is_some(),
        "reasoning" => settings.reasoning.take().is_some(),
        "parallel_tool_calls" => settings.parallel_tool_calls.take().is_some(),
        "prompt_cache_key" => settings.prompt_cache_key.take().is_some(),
        "service_tier" => settings.service_tier.take().is_some(),
        "user" => settings.user.take().is_some(),
        "metadata" => !mem::take(&mut settings.metadata).is_empty(),
        other => settings.extra.remove(other).is_some(),
    }
}
