//! Input tokens that do not come from the request itself.

use brigade_core::Settings;

use super::web_searches;

/// Fields that make the provider add a conversation or a prompt that it keeps.
const KEPT: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// The most input tokens that a provider adds to a request: a conversation that it keeps, and the results of the tools
/// that it runs. Each fills the model's context window at most, once for each use of a tool. Absent if the window or the
/// number of uses has no limit.
pub(super) fn most(settings: &Settings, context_window: Option<u64>) -> Option<u64> {
    let is_given = |name: &str| settings.extra.get(name).is_some_and(|value| value.get() != "null");
    let is_kept = KEPT.into_iter().any(is_given);
    let uses = if is_given("mcp_servers") { None } else { web_searches::limit(settings) };
    match (is_kept, uses) {
        (false, Some(0)) => Some(0),
        (_, uses) => context_window?.checked_mul(uses?.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use brigade_core::RawJson;

    use super::*;

    /// The extra fields of a request.
    type Fields = &'static [(&'static str, &'static str)];

    #[test]
    fn kept_conversations_and_hosted_tools_are_bounded_by_the_window_or_not_at_all() {
        const SEARCH: &str = r#"[{"type":"web_search_20250305","max_uses":2}]"#;
        let cases: [(Fields, Option<u64>); 12] = [
            (&[], Some(0)),
            (&[("top_k", "3"), ("previous_response_id", "null")], Some(0)),
            (&[("tools", r#"[{"type":"function","name":"f"},{"name":"custom"},{"type":"bash_20250124"}]"#)], Some(0)),
            (&[("previous_response_id", "\"resp_1\"")], Some(1_000)),
            (&[("conversation", "\"conv_1\"")], Some(1_000)),
            (&[("prompt", r#"{"id":"pmpt_1"}"#)], Some(1_000)),
            (&[("tools", SEARCH)], Some(3_000)),
            (&[("tools", SEARCH), ("conversation", "\"conv_1\"")], Some(3_000)),
            (&[("tools", r#"[{"type":"file_search"}]"#), ("max_tool_calls", "4")], Some(5_000)),
            (&[("web_search_options", "{}")], Some(2_000)),
            (&[("tools", r#"[{"type":"code_interpreter"}]"#)], None),
            (&[("mcp_servers", r#"[{"url":"https://example.com"}]"#)], None),
        ];
        for (fields, tokens) in cases {
            let field = |(name, json): &(&str, &str)| ((*name).to_owned(), RawJson::parse((*json).to_owned()).unwrap());
            let settings = Settings::default().extra(fields.iter().map(field).collect());
            assert_eq!(most(&settings, Some(1_000)), tokens, "{fields:?}");
        }
        let kept = Settings::default().extra([("prompt".to_owned(), RawJson::parse("1".to_owned()).unwrap())].into());
        assert_eq!(most(&kept, None), None, "the window is not known");
    }
}
