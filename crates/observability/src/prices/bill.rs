//! From an entry of the table to the price of a call.

use brigade_core::{Money, PromptCache, Rate, Rates, Settings, Usage};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    searches,
    table::{Entry, Prices},
};

/// What a price depends on besides the model.
pub(super) struct Terms<'a> {
    /// Now if absent.
    pub(super) moment: Option<Timestamp>,
    pub(super) service_tier: Option<&'a str>,
    /// The whole prompt, cached tokens included.
    pub(super) input_tokens: u64,
}

/// The price of each kind of token, with nothing left out.
#[derive(Clone, Copy)]
struct Tariff {
    input: Rate,
    cached_input: Rate,
    cache_write: Rate,
    cache_write_1h: Rate,
    output: Rate,
    reasoning: Rate,
    web_search: Rate,
    request: Rate,
}

/// What a call cost; absent if it was served in a way that has no price.
pub(super) fn cost(entry: &Entry, terms: &Terms<'_>, usage: &Usage) -> Option<Money> {
    let tariff = tariff(entry, terms)?;
    let writes = usage.cache_write_tokens.unwrap_or(0);
    let long_writes = usage.cache_write_1h_tokens.unwrap_or(0).min(writes);
    let reasoning = usage.reasoning_tokens.unwrap_or(0).min(usage.output_tokens);
    Some(Rate::total([
        (tariff.input, usage.uncached_input_tokens()),
        (tariff.cached_input, usage.cache_read_tokens.unwrap_or(0)),
        (tariff.cache_write, writes - long_writes),
        (tariff.cache_write_1h, long_writes),
        (tariff.output, usage.output_tokens - reasoning),
        (tariff.reasoning, reasoning),
        (tariff.web_search, usage.web_searches.unwrap_or(0)),
        (tariff.request, 1),
    ]))
}

/// The dearest that a call can become: the whole prompt written to a cache, the whole answer reasoning, all web
/// searches made. A reduced tier
/// that is asked for may be answered by the standard one, so it lowers nothing.
pub(super) fn dearest(entry: &Entry, terms: &Terms<'_>, settings: &Settings) -> Option<Rates> {
    let standard = tariff(entry, &Terms { service_tier: None, ..*terms })?;
    let tariff = match terms.service_tier {
        None => standard,
        Some(_) => standard.dearer(tariff(entry, terms)?),
    };
    let written = match settings.prompt_cache {
        PromptCache::Off => Rate::default(),
        PromptCache::Auto => tariff.cache_write,
        PromptCache::OneHour => tariff.cache_write.max(tariff.cache_write_1h),
    };
    let input = tariff.input.max(tariff.cached_input).max(written);
    let output = tariff.output.max(tariff.reasoning);
    let call = tariff.request.of(1) + tariff.web_search.of(searches::allowed(settings));
    Some(Rates::new(input, output).call(call))
}

fn tariff(entry: &Entry, terms: &Terms<'_>) -> Option<Tariff> {
    let prices = in_force(entry, terms.moment);
    let base = Tariff::of(prices);
    let above = prices.above.iter().rev().find(|(threshold, _)| terms.input_tokens > threshold.0);
    let long = above.map(|(_, prices)| base.with(prices));
    let standard = long.unwrap_or(base);
    let tier = match terms.service_tier {
        Some("batch") => entry.batch.as_deref(),
        Some("flex") => entry.flex.as_deref(),
        Some("priority") => entry.priority.as_deref(),
        Some("fast") => entry.fast.as_deref(),
        _ => return Some(standard),
    };
    match tier {
        // No list tells what a long prompt costs in a tier of its own; it is no less than either.
        Some(tier) => Some(long.into_iter().fold(base.with(tier), Tariff::dearer)),
        None if costs_more(terms.service_tier) => None,
        // Batch and flex are reductions: the standard price is their upper bound.
        None => Some(standard),
    }
}

/// Whether a tier costs more than the standard one, so that its price cannot be guessed from it.
fn costs_more(tier: Option<&str>) -> bool {
    matches!(tier, Some("priority" | "fast"))
}

/// The prices of the standard tier at this moment. Few change, and only they ask for the time.
fn in_force(entry: &Entry, moment: Option<Timestamp>) -> &Prices {
    if entry.changes.is_empty() && entry.hours.is_empty() {
        return &entry.standard;
    }
    let now = TimeZone::UTC.to_datetime(moment.unwrap_or_else(Timestamp::now));
    let by_hour = entry.hours.iter().find(|(hours, _)| hours.contain(now.time())).map(|(_, prices)| prices);
    let by_day = || entry.changes.range(..=now.date()).next_back().map(|(_, prices)| prices);
    by_hour.or_else(by_day).unwrap_or(&entry.standard)
}

impl Tariff {
    /// A price list with its gaps filled by what the tokens cost otherwise: reads from a cache and writes to it cost what
    /// fresh input costs, reasoning what output costs.
    fn of(prices: &Prices) -> Self {
        let cache_write = prices.cache_write.unwrap_or(prices.input);
        Self {
            input: prices.input,
            cached_input: prices.cached_input.unwrap_or(prices.input),
            cache_write,
            cache_write_1h: prices.cache_write_1h.unwrap_or(cache_write),
            output: prices.output,
            reasoning: prices.reasoning.unwrap_or(prices.output),
            web_search: per_thousand(prices.web_search.unwrap_or_default()),
            request: per_thousand(prices.request.unwrap_or_default()),
        }
    }

    /// A price list for special conditions, over this one. A gap keeps its proportion to the price of fresh input (or of
    /// output): of 96 such prices that vendors do give, 94 keep it exactly and two are rounded.
    fn with(self, prices: &Prices) -> Self {
        let scaled = |rate: Rate| rate.scaled(prices.input, self.input);
        Self {
            input: prices.input,
            cached_input: prices.cached_input.unwrap_or_else(|| scaled(self.cached_input)),
            cache_write: prices.cache_write.unwrap_or_else(|| scaled(self.cache_write)),
            cache_write_1h: prices.cache_write_1h.unwrap_or_else(|| scaled(self.cache_write_1h)),
            output: prices.output,
            reasoning: prices.reasoning.unwrap_or_else(|| self.reasoning.scaled(prices.output, self.output)),
            web_search: prices.web_search.map_or(self.web_search, per_thousand),
            request: prices.request.map_or(self.request, per_thousand),
        }
    }

    fn dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached_input: self.cached_input.max(other.cached_input),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
            web_search: self.web_search.max(other.web_search),
            request: self.request.max(other.request),
        }
    }
}

fn per_thousand(price: Money) -> Rate {
    Rate::per_million(price.times(1_000))
}
