//! Parameters that the vendors reject, with their messages.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::dialect::WireDialect;
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

pub(crate) fn check(dialect: WireDialect, model: &str, body: &[u8]) -> Result<(), Failure> {
    let Ok(found) = serde_json::from_slice::<Parameters<'_>>(body) else { return Ok(()) };
    if dialect != WireDialect::Anthropic && FIXED.contains(&model) {
        check_fixed(&found)?;
    }
    match found.temperature.and_then(|raw| raw.get().parse().ok()) {
        Some(temperature) => check_temperature(dialect, temperature),
        None => Ok(()),
    }
}

fn check_temperature(dialect: WireDialect, temperature: f64) -> Result<(), Failure> {
    let (place, bound, code) = match (dialect, temperature < 0.0) {
        (WireDialect::Anthropic, _) if (0.0..=1.0).contains(&temperature) => return Ok(()),
        (WireDialect::Anthropic, _) => return Err(Failure::invalid("temperature: range: 0..1")),
        (_, true) => ("below minimum", ">= 0", "decimal_below_min_value"),
        (_, false) if temperature > 2.0 => ("above maximum", "<= 2", "decimal_above_max_value"),
        (_, false) => return Ok(()),
    };
    let text = format!(
        "Invalid 'temperature': decimal {place} value. Expected a value {bound}, but got {temperature} instead."
    );
    Err(Failure::invalid(text).param("temperature").code(code))
}

fn check_fixed(found: &Parameters<'_>) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_out_of_range_is_rejected_in_each_dialect() {
        let dialects = [WireDialect::OpenaiChat, WireDialect::OpenaiResponses, WireDialect::Anthropic];
        let message = |dialect, temperature: &str| {
            let body = format!(r#"{{"temperature":{temperature}}}"#);
            check(dialect, "gpt-4.1-mini", body.as_bytes()).err().map(|failure| failure.message)
        };
        for dialect in dialects {
            assert!(message(dialect, "-2").is_some_and(|text| text.contains("temperature")), "{dialect}");
            assert_eq!([message(dialect, "0"), message(dialect, "1.0"), message(dialect, "null")], [None, None, None]);
        }
        let above = dialects.map(|dialect| message(dialect, "1.5").is_some());
        assert_eq!(above, [false, false, true], "only Anthropic's maximum is 1");
        let text = "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.";
        assert_eq!(message(WireDialect::OpenaiChat, "2.5").as_deref(), Some(text));
    }
}
