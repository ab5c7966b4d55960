//! A request's settings over a model's defaults.

use std::borrow::Cow;

use brigade_core::{PromptCache, Settings, ToolChoice};

/// What `request` says, and where it says nothing, what `defaults` say.
pub(crate) fn merged<'a>(defaults: &'a Settings, request: &'a Settings) -> Cow<'a, Settings> {
    if *defaults == Settings::default() {
        return Cow::Borrowed(request);
    }
    if *request == Settings::default() {
        return Cow::Borrowed(defaults);
    }
    let Settings {
        tool_choice,
        parallel_tool_calls,
        output,
        max_output_tokens,
        temperature,
        top_p,
        stop_sequences,
        seed,
        reasoning,
        prompt_cache_key,
        prompt_cache,
        service_tier,
        user,
        metadata,
        extra,
    } = request.clone();
    let defaults = defaults.clone();
    Cow::Owned(Settings {
        tool_choice: if tool_choice == ToolChoice::Auto { defaults.tool_choice } else { tool_choice },
        parallel_tool_calls: parallel_tool_calls.or(defaults.parallel_tool_calls),
        output: output.or(defaults.output),
        max_output_tokens: max_output_tokens.or(defaults.max_output_tokens),
        temperature: temperature.or(defaults.temperature),
        top_p: top_p.or(defaults.top_p),
        stop_sequences: if stop_sequences.is_empty() { defaults.stop_sequences } else { stop_sequences },
        seed: seed.or(defaults.seed),
        reasoning: reasoning.or(defaults.reasoning),
        prompt_cache_key: prompt_cache_key.or(defaults.prompt_cache_key),
        prompt_cache: if prompt_cache == PromptCache::Auto { defaults.prompt_cache } else { prompt_cache },
        service_tier: service_tier.or(defaults.service_tier),
        user: user.or(defaults.user),
        metadata: defaults.metadata.into_iter().chain(metadata).collect(),
        extra: defaults.extra.into_iter().chain(extra).collect(),
    })
}

#[cfg(test)]
mod tests {
    use brigade_core::RawJson;

    use super::*;

    fn extra(key: &str, json: &str) -> Settings {
        let json = RawJson::parse(json.to_owned()).unwrap();
        Settings { extra: [(key.to_owned(), json)].into(), ..Settings::default() }
    }

    #[test]
    fn the_request_wins_where_it_says_something() {
        let defaults = Settings { max_output_tokens: Some(10), temperature: Some(0.5), ..extra("top_k", "1") };
        let request = Settings { temperature: Some(0.0), ..extra("min_p", "2") };
        let merged = merged(&defaults, &request);
        assert_eq!((merged.max_output_tokens, merged.temperature), (Some(10), Some(0.0)));
        assert_eq!(merged.extra.keys().collect::<Vec<_>>(), ["min_p", "top_k"]);
    }

    #[test]
    fn nothing_is_copied_where_one_side_is_silent() {
        let request = extra("a", "1");
        assert!(matches!(merged(&Settings::default(), &request), Cow::Borrowed(_)));
        assert!(matches!(merged(&request, &Settings::default()), Cow::Borrowed(_)));
    }
}
