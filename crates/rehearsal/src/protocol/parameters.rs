//! Parameters that `OpenAI`'s reasoning models reject, with the API's messages.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::failure::Failure;

#[derive(Deserialize)]
struct Parameters<'a> {
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    presence_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    stop: Option<&'a RawValue>,
}

/// The models whose sampling is fixed whatever their effort is.
const FIXED: [&str; 6] = ["gpt-5", "gpt-5-mini", "gpt-5-nano", "o3", "o3-mini", "o4-mini"];

pub(crate) fn check(model: &str, body: &[u8]) -> Result<(), Failure> {
    if !FIXED.contains(&model) {
        return Ok(());
    }
    let Ok(found) = serde_json::from_slice::<Parameters<'_>>(body) else { return Ok(()) };
    let is_default = |raw: &&RawValue| matches!(raw.get(), "1" | "1.0");
    let refused = [
        ("temperature", found.temperature.filter(|raw| !is_default(raw))),
        ("top_p", found.top_p),
        ("presence_penalty", found.presence_penalty),
        ("frequency_penalty", found.frequency_penalty),
        ("stop", found.stop),
    ];
    match refused.into_iter().find(|(_, value)| value.is_some()) {
        None => Ok(()),
        Some((name, _)) => {
            let text = format!("Unsupported parameter: '{name}' is not supported with this model.");
            Err(Failure::invalid(text).param(name).code("unsupported_parameter"))
        }
    }
}
