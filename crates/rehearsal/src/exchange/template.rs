//! Placeholders in scripted texts.

use crate::exchange::request::Request;

/// Fills the placeholders of a text.
pub(crate) fn fill_text(text: &str, request: &Request) -> String {
    fill(text, request, str::to_owned)
}

/// Fills the placeholders of a JSON text; the values are escaped for JSON strings.
pub(crate) fn fill_json(text: &str, request: &Request) -> String {
    fill(text, request, escaped)
}

fn fill(text: &str, request: &Request, encode: fn(&str) -> String) -> String {
    if !text.contains("{{") {
        return text.to_owned();
    }
    let agent = request.agent.as_deref().unwrap_or("");
    let values = [
        ("{{turn}}", request.turn.to_string()),
        ("{{model}}", encode(&request.model)),
        ("{{agent}}", encode(agent)),
        ("{{tool_results}}", encode(&request.tool_results)),
        ("{{last_user}}", encode(&request.last_user)),
    ];
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The text as it appears between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}
