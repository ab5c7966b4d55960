//! The form of a price table, and how a model is found in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use brigade_core::{Money, Rate};
use foldhash::fast::RandomState;
use jiff::civil::{Date, Time};
use serde::Deserialize;

/// A price table, indexed by model.
#[derive(Default)]
pub(super) struct Table {
    pub(super) as_of: Option<Date>,
    entries: Vec<Entry>,
    /// The places of the entries that list a model of this name. Of two for one provider the last one holds.
    models: HashMap<String, Vec<usize>, RandomState>,
    /// Whoever has an entry of its own.
    providers: BTreeSet<String>,
}

/// What a bundled file says of itself besides, such as its sources, is for its readers.
#[derive(Deserialize)]
struct Bundled {
    as_of: Option<Date>,
    models: Vec<Entry>,
}

/// A user's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlay {
    as_of: Option<Date>,
    #[serde(default)]
    models: Vec<Entry>,
}

/// Models of one provider that cost the same.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Absent: every provider.
    #[serde(default)]
    provider: String,
    ids: Vec<String>,
    pub(super) context_window: Option<u64>,
    pub(super) max_input: Option<u64>,
    pub(super) max_output: Option<u32>,
    /// The prices of the standard service tier, from the beginning.
    pub(super) standard: Prices,
    /// What replaced them, by the day from which it holds.
    #[serde(default)]
    pub(super) changes: BTreeMap<Date, Prices>,
    /// What replaces them at certain hours of each day.
    #[serde(default)]
    pub(super) hours: BTreeMap<Hours, Prices>,
    pub(super) batch: Option<Box<Prices>>,
    pub(super) flex: Option<Box<Prices>>,
    pub(super) priority: Option<Box<Prices>>,
    pub(super) fast: Option<Box<Prices>>,
}

/// One price list. What it leaves out follows from the rest: see `bill`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prices {
    pub(super) input: Rate,
    pub(super) output: Rate,
    pub(super) cached_input: Option<Rate>,
    /// Into a cache of the provider's usual life.
    pub(super) cache_write: Option<Rate>,
    /// Into a cache with a life of one hour.
    pub(super) cache_write_1h: Option<Rate>,
    /// Only where reasoning does not cost the same as the answer.
    pub(super) reasoning: Option<Rate>,
    /// For a thousand web searches.
    pub(super) web_search: Option<Money>,
    /// For a thousand requests.
    pub(super) request: Option<Money>,
    /// Prices for a prompt, cached tokens included, of more than so many tokens. They hold for all of its tokens.
    #[serde(default)]
    pub(super) above: BTreeMap<Threshold, Prices>,
}

/// A number of tokens, written as a key.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct Threshold(pub(super) u64);

/// A part of the day in UTC, as `00:30:00/16:30:00`. It may pass midnight.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct Hours {
    from: Time,
    to: Time,
}

/// Providers that run other people's models at prices of their own. The maker's price tells nothing about theirs.
const HOSTS: [&str; 4] = ["cerebras", "fireworks", "groq", "together"];

/// Those who make models, in the order in which a name is looked for where the account does not tell the provider.
const MAKERS: [&str; 8] = ["openai", "anthropic", "mistral", "xai", "deepseek", "moonshot", "zai", "perplexity"];

/// Makers as resellers such as OpenRouter spell them.
const SPELLINGS: [(&str, &str); 4] =
    [("x-ai", "xai"), ("mistralai", "mistral"), ("moonshotai", "moonshot"), ("z-ai", "zai")];

/// The provider of entries that hold for every account.
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

    fn new(as_of: Option<Date>, mut entries: Vec<Entry>) -> Self {
        let mut models: HashMap<_, Vec<_>, _> = HashMap::default();
        for (place, entry) in entries.iter_mut().enumerate() {
            for id in mem::take(&mut entry.ids) {
                models.entry(id).or_default().push(place);
            }
        }
        let providers = entries.iter().map(|entry| entry.provider.clone()).collect();
        Self { as_of, entries, models, providers }
    }

    /// Provider and model of everything listed.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.models.iter().flat_map(move |(id, listed)| {
            listed.iter().map(move |place| (self.entries[*place].provider.as_str(), id.as_str()))
        })
    }

    /// The entry of the model that an account called `account` calls `model`.
    pub(super) fn find(&self, account: &str, model: &str) -> Option<&Entry> {
        let model = model.strip_prefix("models/").unwrap_or(model);
        self.named(account, model).or_else(|| self.named(account, undated(model)?))
    }

    fn named(&self, account: &str, model: &str) -> Option<&Entry> {
        let listed = self.listed(model);
        if let Some(entry) = self.of(ANY, listed).or_else(|| self.of(account, listed)) {
            return Some(entry);
        }
        let own = self.provider_of(account);
        let entry = own.and_then(|own| self.of(own, listed));
        if entry.is_some() || own.is_some_and(|own| HOSTS.contains(&own)) {
            return entry;
        }
        self.made_by(model).or_else(|| MAKERS.iter().find_map(|maker| self.of(maker, listed)))
    }

    /// The provider that an account is named after: `groq`, `groq-eu`, `groq_2`.
    fn provider_of(&self, account: &str) -> Option<&str> {
        if let Some(provider) = self.providers.get(account) {
            return Some(provider);
        }
        let is_named_after = |provider: &&str| {
            let rest = account.strip_prefix(*provider).filter(|_| !provider.is_empty());
            rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
        };
        self.providers.iter().map(String::as_str).filter(is_named_after).max_by_key(|provider| provider.len())
    }

    /// `anthropic/claude-sonnet-4.5:beta` at the price of its maker.
    fn made_by(&self, model: &str) -> Option<&Entry> {
        let (maker, name) = model.split_once('/')?;
        let maker = SPELLINGS.iter().find(|(spelling, _)| *spelling == maker).map_or(maker, |(_, maker)| maker);
        let name = name.split(':').next().unwrap_or(name);
        let by_name = |name: &str| self.of(maker, self.listed(name));
        by_name(name).or_else(|| by_name(&name.replace('.', "-")))
    }

    /// The places of the entries that list `model`.
    fn listed(&self, model: &str) -> &[usize] {
        self.models.get(model).map(Vec::as_slice).unwrap_or_default()
    }

    /// Of the entries at these places the one that holds for `provider`.
    fn of(&self, provider: &str, listed: &[usize]) -> Option<&Entry> {
        listed.iter().rev().filter_map(|place| self.entries.get(*place)).find(|entry| entry.provider == provider)
    }
}

/// The name without the date of its snapshot: `-2025-08-07`, `-20250929`, `@20250929`, `-latest`. Shorter numbers stay:
/// they tell models apart that cost different.
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

impl Hours {
    pub(super) fn contain(&self, time: Time) -> bool {
        if self.from <= self.to { self.from <= time && time < self.to } else { time >= self.from || time < self.to }
    }
}

impl TryFrom<String> for Threshold {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = |time: &str| time.parse::<Time>().map_err(|error| error.to_string());
        let (from, to) = text.split_once('/').ok_or("hours are written as \"00:30:00/16:30:00\", in UTC")?;
        Ok(Self { from: parse(from)?, to: parse(to)? })
    }
}
