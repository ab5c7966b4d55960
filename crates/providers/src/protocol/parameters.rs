//! Settings by their names in requests, and the values that servers take.

use std::mem;

use brigade_core::Settings;

/// The largest values that a server takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SettingLimits {
    pub(crate) temperature: f32,
    pub(crate) stop_sequences: usize,
}

impl SettingLimits {
    /// Reduces settings to what the server takes. Returns the names of the settings that were larger.
    pub(crate) fn reduce(self, settings: &mut Settings) -> Vec<&'static str> {
        let mut reduced = Vec::new();
        if settings.temperature.is_some_and(|temperature| temperature > self.temperature) {
            settings.temperature = Some(self.temperature);
            reduced.push("temperature");
        }
        if settings.stop_sequences.len() > self.stop_sequences {
            settings.stop_sequences.truncate(self.stop_sequences);
            reduced.push("stop");
        }
        reduced
    }
}

/// The quirk that a setting was left out. A constant, because it is the label of a metric.
pub(crate) fn left_out_quirk(name: &str) -> &'static str {
    match name {
        "temperature" => "left_out_temperature",
        "top_p" => "left_out_top_p",
        "top_k" => "left_out_top_k",
        "stop" => "left_out_stop",
        "seed" => "left_out_seed",
        "reasoning" => "left_out_reasoning",
        "parallel_tool_calls" => "left_out_parallel_tool_calls",
        "prompt_cache_key" => "left_out_prompt_cache_key",
        "service_tier" => "left_out_service_tier",
        "user" => "left_out_user",
        "metadata" => "left_out_metadata",
        "frequency_penalty" => "left_out_frequency_penalty",
        "presence_penalty" => "left_out_presence_penalty",
        "logprobs" => "left_out_logprobs",
        "top_logprobs" => "left_out_top_logprobs",
        "logit_bias" => "left_out_logit_bias",
        "n" => "left_out_n",
        _ => "left_out_other",
    }
}

/// The quirk that a setting was reduced to the largest value that the server takes.
pub(crate) fn reduced_quirk(name: &str) -> &'static str {
    match name {
        "temperature" => "reduced_temperature",
        "stop" => "reduced_stop",
        _ => "reduced_other",
    }
}

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
