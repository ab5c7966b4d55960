//! How often a request lets the provider run its own tools, such as web searches.

use brigade_core::{RawJson, Settings};
use serde::Deserialize;

/// A tool that the provider runs, from the extra fields of a request's settings.
#[derive(Deserialize)]
struct HostedTool {
    #[serde(rename = "type", default)]
    kind: String,
    max_uses: Option<u64>,
}

/// The kinds of tools that a provider runs and whose results are input. Anthropic adds a date to the name.
const HOSTED: [&str; 7] =
    ["web_search", "web_fetch", "code_execution", "code_interpreter", "file_search", "image_generation", "mcp"];

/// The most web searches that a request allows: the limits of its tools (Anthropic's `max_uses`), or of all tools together
/// (`OpenAI`'s `max_tool_calls`). Without a limit it is one for each tool; further searches are charged when reported.
pub(super) fn allowed(settings: &Settings) -> u64 {
    let (tools, limit) = uses(settings, &["web_search"]);
    limit.unwrap_or(tools)
}

/// The most uses of all tools that the provider runs; absent without a limit.
pub(super) fn limit(settings: &Settings) -> Option<u64> {
    uses(settings, &HOSTED).1
}

/// The number of tools of these kinds, and the limit of their uses.
fn uses(settings: &Settings, kinds: &[&str]) -> (u64, Option<u64>) {
    let field = |name: &str| settings.extra.get(name).map(RawJson::get);
    let tools = field("tools").and_then(|tools| serde_json::from_str::<Vec<HostedTool>>(tools).ok());
    let hosted = tools.into_iter().flatten().filter(|tool| kinds.iter().any(|kind| tool.kind.starts_with(kind)));
    let uses = hosted.map(|tool| (1, tool.max_uses)).reduce(|(tools, one), (more, other)| {
        (tools + more, one.zip(other).map(|(one, other)| one.saturating_add(other)))
    });
    let all_tools = || field("max_tool_calls").and_then(|limit| serde_json::from_str::<u64>(limit).ok());
    let (tools, limit) = uses.map_or((0, Some(0)), |(tools, limit)| (tools, limit.or_else(all_tools)));
    let options = u64::from(field("web_search_options").is_some());
    (tools.max(options), limit.map(|limit| limit.max(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_limited_by_tool_or_by_request_or_one_per_tool() {
        let cases: [(&[(&str, &str)], u64); 7] = [
            (&[], 0),
            (&[("tools", r#"[{"type":"code_execution_20250522","max_uses":9}]"#)], 0),
            (&[("tools", r#"[{"type":"web_search_20250305","name":"web_search","max_uses":5}]"#)], 5),
            (&[("tools", r#"[{"type":"web_search_20250305"}]"#)], 1),
            (&[("tools", r#"[{"type":"web_search"}]"#), ("max_tool_calls", "4")], 4),
            (&[("web_search_options", "{}")], 1),
            (&[("tools", "7")], 0),
        ];
        for (fields, searches) in cases {
            let field = |(name, json): &(&str, &str)| ((*name).to_owned(), RawJson::parse((*json).to_owned()).unwrap());
            let extra = fields.iter().map(field).collect();
            assert_eq!(allowed(&Settings::default().extra(extra)), searches, "{fields:?}");
        }
    }
}
