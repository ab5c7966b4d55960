//! The list of models, in the form of each vendor.

use serde::Serialize;

use crate::exchange::reply::CREATED;
use crate::protocol::dialect::WireDialect;

#[derive(Serialize)]
struct OpenaiList<'a> {
    object: &'static str,
    data: Vec<OpenaiModel<'a>>,
}

#[derive(Serialize)]
struct OpenaiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

/// The models of this vendor: those whose names start with `claude`, or all others.
pub(crate) fn list(dialect: WireDialect, models: &[String]) -> Vec<u8> {
    let is_anthropic = dialect == WireDialect::Anthropic;
    let ids: Vec<&str> =
        models.iter().map(String::as_str).filter(|id| id.starts_with("claude") == is_anthropic).collect();
    let json = if is_anthropic {
        let model = |&id| AnthropicModel { kind: "model", id, display_name: id, created_at: "2026-01-01T00:00:00Z" };
        serde_json::to_vec(&AnthropicList {
            data: ids.iter().map(model).collect(),
            has_more: false,
            first_id: ids.first().copied(),
            last_id: ids.last().copied(),
        })
    } else {
        let model = |&id| OpenaiModel { id, object: "model", created: CREATED, owned_by: "system" };
        serde_json::to_vec_pretty(&OpenaiList { object: "list", data: ids.iter().map(model).collect() })
    };
    json.unwrap_or_default()
}
