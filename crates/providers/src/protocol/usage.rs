//! Token counts and costs as several protocols state them.

use brigade_core::{Money, Usage};

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
pub(crate) fn from_usd(usd: f64) -> Option<Money> {
    if !(0.0..1e9).contains(&usd) {
        return None;
    }
    format!("{usd:.9}").parse().ok()
}
