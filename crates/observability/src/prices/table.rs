//! The format of a price table, and the lookup of a model in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use brigade_core::{Money, Rate};
use jiff::civil::{Date, Time};
use serde::Deserialize;

/// A price table, indexed by model.
#[derive(Default)]
pub(super) struct Table {
    pub(super) as_of: Option<Date>,
    entries: Vec<ModelEntry>,
    /// The indexes of the entries that list a model of this name. Of two entries for one provider, the last one counts.
    models: HashMap<String, Vec<usize>>,
    /// All providers with an entry.
    providers: BTreeSet<String>,
}

/// A bundled file. Its other fields, such as its sources, are for its readers.
#[derive(Deserialize)]
struct Bundled {
    as_of: Option<Date>,
    models: Vec<ModelEntry>,
}

/// A user's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlay {
    as_of: Option<Date>,
    #[serde(default)]
    models: Vec<ModelEntry>,
}

/// Models of one provider with the same prices.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelEntry {
    /// Empty for entries that apply to every provider.
    #[serde(default)]
    provider: String,
    ids: Vec<String>,
    pub(super) context_window: Option<u64>,
    pub(super) max_input: Option<u64>,
    pub(super) max_output: Option<u32>,
    /// The most tokens of an image.
    image_tokens: Option<u64>,
    /// The first prices of the standard service tier.
    pub(super) standard: PriceList,
    /// The prices that replaced them, by their first day.
    #[serde(default)]
    pub(super) changes: BTreeMap<Date, PriceList>,
    /// The prices at certain times of each day.
    #[serde(default)]
    pub(super) hours: BTreeMap<TimeRange, PriceList>,
    pub(super) batch: Option<PriceList>,
    pub(super) flex: Option<PriceList>,
    pub(super) priority: Option<PriceList>,
    pub(super) fast: Option<PriceList>,
}

/// One price list. Missing prices are derived from the others, see `CallRates`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceList {
    pub(super) input: Rate,
    pub(super) output: Rate,
    pub(super) cached_input: Option<Rate>,
    /// For writes to a cache with the provider's default lifetime.
    pub(super) cache_write: Option<Rate>,
    /// For writes to a cache with a lifetime of one hour.
    pub(super) cache_write_1h: Option<Rate>,
    /// Only if reasoning does not cost the same as the answer.
    pub(super) reasoning: Option<Rate>,
    /// For a thousand web searches.
    pub(super) web_search: Option<Money>,
    /// For a thousand requests.
    pub(super) request: Option<Money>,
    /// Prices of calls whose prompt, including cached tokens, is longer than the threshold. They apply to all tokens.
    #[serde(default)]
    pub(super) above: BTreeMap<Threshold, PriceList>,
}

/// A number of tokens, written as a key of the table.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct Threshold(pub(super) u64);

/// A part of the day in UTC, as `00:30:00/16:30:00`. It may extend past midnight.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct TimeRange {
    from: Time,
    to: Time,
}

/// Providers that host models of others at their own prices, so that the vendor's price does not apply.
const HOSTS: [&str; 4] = ["cerebras", "fireworks", "groq", "together"];

/// Vendors of models, in the order in which they are searched if the account does not name the provider.
const VENDORS: [&str; 8] = ["openai", "anthropic", "mistral", "xai", "deepseek", "moonshot", "zai", "perplexity"];

/// Spellings of vendors by resellers such as OpenRouter.
const SPELLINGS: [(&str, &str); 4] =
    [("x-ai", "xai"), ("mistralai", "mistral"), ("moonshotai", "moonshot"), ("z-ai", "zai")];

/// Servers that run at home.
const LOCAL: [&str; 4] = ["llamacpp", "lmstudio", "ollama", "vllm"];

/// The provider of entries that apply to every account.
const ANY: &str = "";

impl Table {
    pub(super) fn bundled(files: &[&str]) -> Result<Self, serde_json::Error> {
        let (mut day, mut entries) = (None, Vec::new());
        for json in files {
            let Bundled { as_of, models } = serde_json::from_str(json)?;
            day = day.or(as_of);
            entries.extend(models);
        }
        Ok(Self::new(day, entries))
    }

    pub(super) fn overlay(toml: &str) -> Result<Self, toml::de::Error> {
        let Overlay { as_of, models } = toml::from_str(toml)?;
        Ok(Self::new(as_of, models))
    }

    fn new(as_of: Option<Date>, mut entries: Vec<ModelEntry>) -> Self {
        let mut models: HashMap<_, Vec<_>> = HashMap::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            for id in mem::take(&mut entry.ids) {
                models.entry(id).or_default().push(index);
            }
        }
        let providers = entries.iter().map(|entry| entry.provider.clone()).collect();
        Self { as_of, entries, models, providers }
    }

    /// The provider and name of every listed model.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models.iter().flat_map(move |(id, listed)| {
            listed.iter().map(move |index| (self.entries[*index].provider.as_str(), id.as_str()))
        })
    }

    /// The entry for the model `model` of the account `account`.
    pub(super) fn find(&self, account: &str, model: &str) -> Option<&ModelEntry> {
        let model = model.strip_prefix("models/").unwrap_or(model);
        self.named(account, model).or_else(|| self.named(account, undated(model)?))
    }

    /// The same without entries of other providers.
    pub(super) fn find_own(&self, account: &str, model: &str) -> Option<&ModelEntry> {
        let own = |model| self.own(account, self.listed(model));
        own(model).or_else(|| own(undated(model)?))
    }

    /// The entry for the account, for the provider that it is named after, or for every account, among the entries at these
    /// indexes.
    fn own(&self, account: &str, listed: &[usize]) -> Option<&ModelEntry> {
        let named_after = || self.of(self.provider_of(account)?, listed);
        self.of(account, listed).or_else(named_after).or_else(|| self.of(ANY, listed))
    }

    fn named(&self, account: &str, model: &str) -> Option<&ModelEntry> {
        let listed = self.listed(model);
        let own = self.own(account, listed);
        if own.is_some() || self.provider_of(account).is_some_and(|provider| HOSTS.contains(&provider)) {
            return own;
        }
        self.by_vendor(model).or_else(|| VENDORS.iter().find_map(|vendor| self.of(vendor, listed)))
    }

    /// The provider that an account is named after: `groq` for `groq`, `groq-eu` and `groq_2`.
    fn provider_of(&self, account: &str) -> Option<&str> {
        if let Some(provider) = self.providers.get(account) {
            return Some(provider);
        }
        let named_after =
            self.providers.iter().map(String::as_str).filter(|provider| is_named_after(account, provider));
        named_after.max_by_key(|provider| provider.len())
    }

    /// The vendor's entry for names such as `anthropic/claude-sonnet-4.5:beta`.
    fn by_vendor(&self, model: &str) -> Option<&ModelEntry> {
        let (vendor, name) = model.split_once('/')?;
        let vendor = SPELLINGS.iter().find(|(spelling, _)| *spelling == vendor).map_or(vendor, |(_, vendor)| vendor);
        let name = name.split(':').next().unwrap_or(name);
        let by_name = |name: &str| self.of(vendor, self.listed(name));
        by_name(name).or_else(|| by_name(&name.replace('.', "-")))
    }

    /// The indexes of the entries that list `model`.
    fn listed(&self, model: &str) -> &[usize] {
        self.models.get(model).map(Vec::as_slice).unwrap_or_default()
    }

    /// The entry for `provider` among the entries at these indexes.
    fn of(&self, provider: &str, listed: &[usize]) -> Option<&ModelEntry> {
        listed.iter().rev().filter_map(|index| self.entries.get(*index)).find(|entry| entry.provider == provider)
    }
}

/// The name without the date of its snapshot: `-2025-08-07`, `-20250929`, `@20250929`, `-latest`. Shorter numbers
/// distinguish models with different prices, so they stay.
fn undated(model: &str) -> Option<&str> {
    if let Some(name) = model.strip_suffix("-latest") {
        return Some(name);
    }
    let date_at = |digits: usize| {
        let (name, date) = model.split_at_checked(model.len().checked_sub(digits)?)?;
        let digits = date.bytes().filter(u8::is_ascii_digit).count();
        let is_date = date.get(1..3) == Some("20") && digits == 8;
        is_date.then_some((name, date))
    };
    match date_at(11).or_else(|| date_at(9))? {
        (name, date) if date.starts_with(['-', '@']) && !name.is_empty() => Some(name),
        _ => None,
    }
}

/// Whether the account is named after a server that runs at home.
pub(super) fn is_local(account: &str) -> bool {
    LOCAL.iter().any(|server| is_named_after(account, server))
}

fn is_named_after(account: &str, provider: &str) -> bool {
    let rest = account.strip_prefix(provider).filter(|_| !provider.is_empty());
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
}

impl ModelEntry {
    /// The most tokens of an image, if it is known. Anthropic scales an image down to fewer than 5,000 tokens.
    pub(super) fn image_tokens(&self) -> Option<u64> {
        self.image_tokens.or((self.provider == "anthropic").then_some(5_000))
    }
}

impl TimeRange {
    pub(super) fn contains(&self, time: Time) -> bool {
        if self.from <= self.to { self.from <= time && time < self.to } else { time >= self.from || time < self.to }
    }
}

impl TryFrom<String> for Threshold {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for TimeRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = |time: &str| time.parse::<Time>().map_err(|error| error.to_string());
        let (from, to) = text.split_once('/').ok_or("write a time range like \"00:30:00/16:30:00\", in UTC")?;
        Ok(Self { from: parse(from)?, to: parse(to)? })
    }
}
