//! Tokens as Chat Completions servers count them, brought to one form.

use brigade_core::{Money, Usage};
use serde::{Deserialize, de::MapAccess};
use serde_json::value::RawValue;

use crate::json::{self, Count, Members, Object};

/// A `usage` object with the names that different servers use for the same thing.
#[derive(Debug, Default)]
pub(super) struct Stated<'a> {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Object<Details>,
    completion_tokens_details: Object<Details>,
    /// `DeepSeek`.
    prompt_cache_hit_tokens: Count,
    /// Gateways to Anthropic.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    /// Moonshot and Hugging Face.
    cached_tokens: Count,
    /// Perplexity.
    reasoning_tokens: Count,
    /// Mistral counts what was heard in the total alone.
    prompt_audio_seconds: Count,
    /// OpenRouter: US dollars. Perplexity: an object.
    cost: Option<&'a RawValue>,
    /// xAI: ten-billionths of a US dollar.
    cost_in_usd_ticks: Count,
}

impl<'de: 'a, 'a> Members<'de> for Stated<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        let count = match name {
            "prompt_tokens" => &mut self.prompt_tokens,
            "completion_tokens" => &mut self.completion_tokens,
            "total_tokens" => &mut self.total_tokens,
            "prompt_cache_hit_tokens" => &mut self.prompt_cache_hit_tokens,
            "cache_read_input_tokens" => &mut self.cache_read_input_tokens,
            "cache_creation_input_tokens" => &mut self.cache_creation_input_tokens,
            "cached_tokens" => &mut self.cached_tokens,
            "reasoning_tokens" => &mut self.reasoning_tokens,
            "prompt_audio_seconds" => &mut self.prompt_audio_seconds,
            "cost_in_usd_ticks" => &mut self.cost_in_usd_ticks,
            "prompt_tokens_details" => return object.next_value().map(|details| self.prompt_tokens_details = details),
            "completion_tokens_details" => {
                return object.next_value().map(|details| self.completion_tokens_details = details);
            }
            "cost" => return object.next_value().map(|cost| self.cost = cost),
            _ => return json::skip(object),
        };
        *count = object.next_value()?;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Details {
    cache_read: Count,
    cache_write: Count,
    reasoning: Count,
}

impl<'de> Members<'de> for Details {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        let count = match name {
            "cached_tokens" => &mut self.cache_read,
            "cache_write_tokens" => &mut self.cache_write,
            "reasoning_tokens" => &mut self.reasoning,
            _ => return json::skip(object),
        };
        *count = object.next_value()?;
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct CostObject {
    total_cost: f64,
}

/// Where Groq repeats the usage, and at first had it only.
#[derive(Debug, Default)]
pub(super) struct Groq<'a> {
    pub(super) usage: Object<Box<Stated<'a>>>,
}

impl<'de: 'a, 'a> Members<'de> for Groq<'a> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "usage" => self.usage = object.next_value()?,
            _ => json::skip(object)?,
        }
        Ok(())
    }
}

/// Brings a `usage` object to one form. The flag says whether something in it cannot be right; that part is left out.
/// Absent if it states no tokens at all.
pub(super) fn normalised(stated: &Stated<'_>) -> (Option<Usage>, bool) {
    let counts = [stated.prompt_tokens, stated.completion_tokens, stated.total_tokens];
    let odd = counts.contains(&Count::Implausible);
    let (prompt, completion) = (stated.prompt_tokens.get(), stated.completion_tokens.get());
    if prompt.is_none() && completion.is_none() {
        return (None, odd);
    }
    let input = stated.prompt_tokens_details.0.unwrap_or_default();
    let output = stated.completion_tokens_details.0.unwrap_or_default();
    let mut usage = Usage::new(prompt.unwrap_or(0), completion.unwrap_or(0));
    // What the total has beyond its parts is reasoning that was not counted as completion (xAI, Gemini).
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
    usage.stated_cost = stated_cost(stated);
    let dropped = drop_implausible(&mut usage);
    (Some(usage), odd || dropped)
}

/// A part that is larger than its whole says nothing; without it the call is priced as if nothing had been cached.
pub(crate) fn drop_implausible(usage: &mut Usage) -> bool {
    let cached = usage.cache_read_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
    let cache_odd = cached > usage.input_tokens;
    if cache_odd {
        usage.cache_read_tokens = None;
        usage.cache_write_tokens = None;
    }
    let reasoning_odd = usage.reasoning_tokens.unwrap_or(0) > usage.output_tokens;
    if reasoning_odd {
        usage.reasoning_tokens = None;
    }
    cache_odd || reasoning_odd
}

fn first<const N: usize>(counts: [Count; N]) -> Option<u64> {
    counts.into_iter().find_map(Count::get)
}

fn stated_cost(stated: &Stated<'_>) -> Option<Money> {
    if let Some(ticks) = stated.cost_in_usd_ticks.get() {
        return i64::try_from(ticks.div_ceil(10)).ok().map(Money::from_nano);
    }
    let raw = stated.cost?.get();
    let usd: f64 = serde_json::from_str(raw)
        .or_else(|_| serde_json::from_str::<CostObject>(raw).map(|cost| cost.total_cost))
        .ok()?;
    from_usd(usd)
}

/// Providers state the cost as a float; nine decimals are more than they mean.
pub(crate) fn from_usd(usd: f64) -> Option<Money> {
    if !(0.0..1e9).contains(&usd) {
        return None;
    }
    format!("{usd:.9}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> (Option<Usage>, bool) {
        let stated: Object<Stated<'_>> = serde_json::from_str(json).unwrap();
        stated.0.map_or((None, false), |stated| normalised(&stated))
    }

    #[test]
    fn the_same_thing_has_many_names() {
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
    fn reasoning_beside_the_completion_is_output_too() {
        let xai = r#"{"prompt_tokens":12,"completion_tokens":1,"total_tokens":241,
            "completion_tokens_details":{"reasoning_tokens":228}}"#;
        assert_eq!(read(xai), (Some(Usage::new(12, 229).reasoning_tokens(Some(228))), false));
    }

    #[test]
    fn what_cannot_be_right_is_left_out() {
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
}
