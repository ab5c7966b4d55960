//! The cost of a call, from an entry of the table.

use brigade_core::{Money, PromptCache, Rate, Rates, Settings, Usage};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    table::{ModelEntry, PriceList},
    web_searches,
};

/// The conditions that prices depend on besides the model.
pub(super) struct CallConditions<'a> {
    /// `None` is now.
    pub(super) moment: Option<Timestamp>,
    pub(super) service_tier: Option<&'a str>,
    /// The complete prompt, including cached tokens.
    pub(super) input_tokens: u64,
}

/// The price of each kind of token and service, without gaps.
#[derive(Clone, Copy)]
struct CallRates {
    input: Rate,
    cached_input: Rate,
    cache_write: Rate,
    cache_write_1h: Rate,
    output: Rate,
    reasoning: Rate,
    web_search: Rate,
    request: Rate,
}

/// The cost of a call; `None` if its service tier has no price.
pub(super) fn cost(entry: &ModelEntry, conditions: &CallConditions<'_>, usage: &Usage) -> Option<Money> {
    let rates = rates(entry, conditions)?;
    let writes = usage.cache_write_tokens.unwrap_or(0);
    let long_writes = usage.cache_write_1h_tokens.unwrap_or(0).min(writes);
    let reasoning = usage.reasoning_tokens.unwrap_or(0).min(usage.output_tokens);
    Some(Rate::total([
        (rates.input, usage.uncached_input_tokens()),
        (rates.cached_input, usage.cache_read_tokens.unwrap_or(0)),
        (rates.cache_write, writes - long_writes),
        (rates.cache_write_1h, long_writes),
        (rates.output, usage.output_tokens - reasoning),
        (rates.reasoning, reasoning),
        (rates.web_search, usage.web_searches.unwrap_or(0)),
        (rates.request, 1),
    ]))
}

/// The highest rates of a call: the whole prompt is written to a cache, the whole answer is reasoning, and all web
/// searches are made. A request for a reduced tier may be served by the standard one, so it lowers nothing.
pub(super) fn highest_rates(entry: &ModelEntry, conditions: &CallConditions<'_>, settings: &Settings) -> Option<Rates> {
    let now = conditions.moment.unwrap_or_else(Timestamp::now);
    let mut highest = rates(entry, conditions)?;
    // A call ends up to an hour later, when another price may be in force, and its prompt may be shorter than its bound.
    for moment in [now, now.saturating_add(SignedDuration::from_hours(1)).unwrap_or(now)] {
        for input_tokens in [0, conditions.input_tokens] {
            for service_tier in [None, conditions.service_tier] {
                let conditions = CallConditions { moment: Some(moment), service_tier, input_tokens };
                highest = highest.max(rates(entry, &conditions)?);
            }
        }
    }
    let rates = highest;
    let written = match settings.prompt_cache {
        PromptCache::Off => Rate::default(),
        PromptCache::Auto => rates.cache_write,
        PromptCache::OneHour => rates.cache_write.max(rates.cache_write_1h),
    };
    let input = rates.input.max(rates.cached_input).max(written);
    let output = rates.output.max(rates.reasoning);
    let call = rates.request.of(1) + rates.web_search.of(web_searches::allowed(settings));
    Some(Rates::new(input, output).call(call))
}

fn rates(entry: &ModelEntry, conditions: &CallConditions<'_>) -> Option<CallRates> {
    let prices = in_force(entry, conditions.moment);
    let base = CallRates::of(prices);
    let above = prices.above.iter().rev().find(|(threshold, _)| conditions.input_tokens > threshold.0);
    let long = above.map(|(_, prices)| base.with(prices));
    let standard = long.unwrap_or(base);
    let tier = match conditions.service_tier {
        Some("batch") => entry.batch.as_ref(),
        Some("flex") => entry.flex.as_ref(),
        Some("priority") => entry.priority.as_ref(),
        Some("fast") => entry.fast.as_ref(),
        _ => return Some(standard),
    };
    match tier {
        // No vendor lists prices of long prompts for each tier; they are at least as high as either.
        Some(tier) => Some(long.into_iter().fold(base.with(tier), CallRates::max)),
        None if costs_more(conditions.service_tier) => None,
        // Batch and flex are cheaper: the standard price is an upper bound.
        None => Some(standard),
    }
}

/// Whether a tier is more expensive than the standard one, which is then no bound for it.
fn costs_more(tier: Option<&str>) -> bool {
    matches!(tier, Some("priority" | "fast"))
}

/// The prices of the standard tier at this moment.
fn in_force(entry: &ModelEntry, moment: Option<Timestamp>) -> &PriceList {
    let now = TimeZone::UTC.to_datetime(moment.unwrap_or_else(Timestamp::now));
    let by_hour = entry.hours.iter().find(|(hours, _)| hours.contains(now.time())).map(|(_, prices)| prices);
    let by_day = || entry.changes.range(..=now.date()).next_back().map(|(_, prices)| prices);
    by_hour.or_else(by_day).unwrap_or(&entry.standard)
}

impl CallRates {
    /// The rates of a price list. If a price is missing, reads from a cache and writes to it cost the same as input, and
    /// reasoning the same as output.
    fn of(prices: &PriceList) -> Self {
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

    /// These rates, replaced by a price list for special conditions. A missing price keeps its proportion to the price of
    /// input or output: of 96 such prices that vendors list, 94 keep it exactly and two are rounded.
    fn with(self, prices: &PriceList) -> Self {
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

    fn max(self, other: Self) -> Self {
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
