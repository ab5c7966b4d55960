//! Token counts of Chat Completions servers.

use brigade_core::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    json::json::{self, Count, LooseObject},
    protocol::usage::{drop_implausible, stated_cost},
};

/// A `usage` object with the names that different servers use for the same thing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsageObject {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: LooseObject<TokenDetails>,
    completion_tokens_details: LooseObject<TokenDetails>,
    /// `DeepSeek`.
    prompt_cache_hit_tokens: Count,
    /// Gateways to Anthropic.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    /// Moonshot and Hugging Face.
    cached_tokens: Count,
    /// Perplexity.
    reasoning_tokens: Count,
    /// Mistral counts audio input in the total alone.
    prompt_audio_seconds: Count,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct TokenDetails {
    #[serde(rename = "cached_tokens")]
    cache_read: Count,
    #[serde(rename = "cache_write_tokens")]
    cache_write: Count,
    #[serde(rename = "reasoning_tokens")]
    reasoning: Count,
}

/// Groq's own object, which repeats the usage. At first it was the only place.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GroqExtension<'a> {
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// Converts a `usage` object; absent if it has no token counts. The flag is true if a count is impossible; that count is
/// left out.
pub(super) fn parse(raw: &RawValue) -> (Option<Usage>, bool) {
    let Some(stated) = json::read::<UsageObject>(raw.get().as_bytes()) else { return (None, false) };
    let counts = [stated.prompt_tokens, stated.completion_tokens, stated.total_tokens];
    let implausible = counts.contains(&Count::Implausible);
    let (prompt, completion) = (stated.prompt_tokens.get(), stated.completion_tokens.get());
    if prompt.is_none() && completion.is_none() {
        return (None, implausible);
    }
    let input = stated.prompt_tokens_details.0.unwrap_or_default();
    let output = stated.completion_tokens_details.0.unwrap_or_default();
    let mut usage = Usage::new(prompt.unwrap_or(0), completion.unwrap_or(0));
    // The total beyond its parts is reasoning that is not in the completion count (xAI, Gemini).
    let uncounted = stated.total_tokens.get().unwrap_or(0).saturating_sub(usage.total_tokens());
    if stated.prompt_audio_seconds == Count::Absent {
        usage.output_tokens += uncounted;
    } else {
        usage.input_tokens += uncounted;
    }
    usage.cache_read_tokens =
        first([input.cache_read, stated.prompt_cache_hit_tokens, stated.cache_read_input_tokens, stated.cached_tokens]);
    usage.cache_write_tokens = first([input.cache_write, stated.cache_creation_input_tokens]);
    usage.reasoning_tokens = first([output.reasoning, stated.reasoning_tokens]);
    usage.stated_cost = stated_cost(raw);
    let dropped = drop_implausible(&mut usage);
    (Some(usage), implausible || dropped)
}

fn first<const N: usize>(counts: [Count; N]) -> Option<u64> {
    counts.into_iter().find_map(Count::get)
}

#[cfg(test)]
mod tests {
    use brigade_core::Money;

    use super::*;

    fn read(json: &str) -> (Option<Usage>, bool) {
        parse(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_count_has_different_names() {
        let openai = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,
            "prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},
            "completion_tokens_details":{"reasoning_tokens":3}}"#;
        let deepseek = r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":4}"#;
        let expected =
            Usage::new(10, 5).cache_read_tokens(Some(4)).cache_write_tokens(Some(2)).reasoning_tokens(Some(3));
        assert_eq!(read(openai), (Some(expected), false));
        assert_eq!(read(deepseek).0.unwrap().cache_read_tokens, Some(4));
    }

    #[test]
    fn reasoning_outside_the_completion_count_is_output() {
        let xai = r#"{"prompt_tokens":12,"completion_tokens":1,"total_tokens":241,
            "completion_tokens_details":{"reasoning_tokens":228}}"#;
        assert_eq!(read(xai), (Some(Usage::new(12, 229).reasoning_tokens(Some(228))), false));
    }

    #[test]
    fn impossible_counts_are_left_out() {
        let grok = r#"{"prompt_tokens":24,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":161}}"#;
        assert_eq!(read(grok), (Some(Usage::new(24, 2)), true));
        assert_eq!(read(r#"{"prompt_tokens":-4,"completion_tokens":2}"#), (Some(Usage::new(0, 2)), true));
        assert_eq!(read(r#"{"queue_time":0.2}"#), (None, false));
        assert_eq!(read("[]").0, None);
    }

    #[test]
    fn a_stated_cost_is_read_in_every_form() {
        let cost = |json: &str| read(json).0.unwrap().stated_cost;
        assert_eq!(cost(r#"{"prompt_tokens":1,"cost":0.00012}"#), Some(Money::from_nano(120_000)));
        assert_eq!(cost(r#"{"prompt_tokens":1,"cost":{"total_cost":0.006}}"#), Some(Money::from_nano(6_000_000)));
        assert_eq!(cost(r#"{"prompt_tokens":1,"cost_in_usd_ticks":1234}"#), Some(Money::from_nano(124)));
        assert_eq!(cost(r#"{"prompt_tokens":1,"cost":-1}"#), None);
    }

    #[test]
    fn the_cost_of_a_call_with_an_own_key_is_the_routers_fee_and_the_upstream_cost() {
        let cost = |cost: &str| read(&format!("{{\"prompt_tokens\":1,{cost}}}")).0.unwrap().stated_cost;
        let details = r#""cost_details":{"upstream_inference_cost":0.036}"#;
        for (fee, nano) in [
            (r#""cost":0,"is_byok":true"#, 36_000_000),
            (r#""cost":0"#, 36_000_000),
            (r#""cost":0.002,"is_byok":true"#, 38_000_000),
            // What the provider bills the router is in the router's price.
            (r#""cost":0.04,"is_byok":false"#, 40_000_000),
            (r#""cost":0.04"#, 40_000_000),
        ] {
            assert_eq!(cost(&format!("{fee},{details}")), Some(Money::from_nano(nano)), "{fee}");
        }
        assert_eq!(cost(r#""cost":0,"is_byok":true,"cost_details":null"#), Some(Money::ZERO));
        assert_eq!(
            cost(r#""cost":0.1,"is_byok":"yes","cost_details":{"upstream_inference_cost":"?"}"#),
            Some(Money::from_nano(100_000_000))
        );
    }
}
