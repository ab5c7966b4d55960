//! Token counts and costs as several protocols state them.

use brigade_core::{Money, Usage};

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

/// Providers state the cost as a float; nine decimals are more than they mean.
pub(crate) fn from_usd(usd: f64) -> Option<Money> {
    if !(0.0..1e9).contains(&usd) {
        return None;
    }
    format!("{usd:.9}").parse().ok()
}
