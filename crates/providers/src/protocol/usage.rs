//! Token counts and costs as several protocols state them.

use brigade_core::{Money, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::json::{self, Count, LooseObject};

/// The cost in a `usage` object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatedCost<'a> {
    /// OpenRouter: US dollars. Perplexity: an object.
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    /// xAI: ten-billionths of a US dollar.
    cost_in_usd_ticks: Count,
    /// OpenRouter: the model's own provider bills a key of the caller, and `cost` is only the router's fee.
    #[serde(deserialize_with = "json::loose")]
    is_byok: Option<bool>,
    cost_details: LooseObject<CostDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CostDetails {
    #[serde(deserialize_with = "json::loose")]
    upstream_inference_cost: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct CostObject {
    total_cost: f64,
}

/// The cost that a `usage` object states: what the router and the model's own provider bill together.
/// See <https://openrouter.ai/docs/use-cases/usage-accounting>.
pub(crate) fn stated_cost(usage: &RawValue) -> Option<Money> {
    let stated: StatedCost<'_> = json::read(usage.get().as_bytes())?;
    if let Some(ticks) = stated.cost_in_usd_ticks.get() {
        return i64::try_from(ticks.div_ceil(10)).ok().map(Money::from_nano);
    }
    let raw = stated.cost?.get();
    let usd: f64 = serde_json::from_str(raw)
        .or_else(|_| serde_json::from_str::<CostObject>(raw).map(|cost| cost.total_cost))
        .ok()?;
    let upstream = stated.cost_details.0.and_then(|details| details.upstream_inference_cost);
    let upstream = upstream.filter(|_| stated.is_byok.unwrap_or(usd == 0.0));
    from_usd(usd + upstream.unwrap_or(0.0))
}

/// Combines two reports of one stream. They are running totals, so the larger of each count holds: some servers end with
/// zeros.
pub(crate) fn larger(before: Option<Usage>, later: Option<Usage>) -> Option<Usage> {
    let (Some(mut usage), Some(later)) = (before, later) else { return later.or(before) };
    usage.input_tokens = usage.input_tokens.max(later.input_tokens);
    usage.output_tokens = usage.output_tokens.max(later.output_tokens);
    usage.cache_read_tokens = usage.cache_read_tokens.max(later.cache_read_tokens);
    usage.cache_write_tokens = usage.cache_write_tokens.max(later.cache_write_tokens);
    usage.cache_write_1h_tokens = usage.cache_write_1h_tokens.max(later.cache_write_1h_tokens);
    usage.reasoning_tokens = usage.reasoning_tokens.max(later.reasoning_tokens);
    usage.web_searches = usage.web_searches.max(later.web_searches);
    usage.stated_cost = usage.stated_cost.max(later.stated_cost);
    Some(usage)
}

/// Removes counts of parts that are larger than the whole, and returns whether there were any. Without them the call is
/// priced as if nothing had been cached.
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

/// Converts a cost that a provider states as a float, to nine decimals.
fn from_usd(usd: f64) -> Option<Money> {
    if !(0.0..1e9).contains(&usd) {
        return None;
    }
    format!("{usd:.9}").parse().ok()
}
