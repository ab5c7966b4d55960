//! `cargo xtask prices`: writes the price table that is embedded in `brigade-observability`.
//!
//! The source is a JSON file that joins the price lists of several projects, model by model, with every price as a
//! decimal string in US dollars per million tokens (web searches and requests: per thousand). Only what a bill or a
//! limit depends on is kept. Models of one provider that cost the same share an entry, so that a change of price is a
//! change of one line. The table is JSON, not TOML as a user's own is, because every program reads it at its start.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use xshell::Shell;

const TABLE: &str = "crates/observability/prices/models.json";

/// Stands at the top of the table.
const ABOUT: &str = "What models cost and what they can take. Written by `cargo xtask prices`; do not edit. US dollars \
    per 1,000,000 tokens; web_search and request per 1,000. Joined from the sources, each under its own licence.";

/// The options of `cargo xtask prices`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The joined price lists, a JSON file.
    source: PathBuf,
}

#[derive(Deserialize)]
struct Source {
    as_of: String,
    currency: String,
    sources: Vec<Origin>,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Origin {
    repo: String,
    commit: String,
    date: String,
    license: String,
}

#[derive(Deserialize)]
struct Model {
    provider: String,
    id: String,
    periods: Vec<Prices>,
    daily_schedule_utc: Option<Vec<Prices>>,
    batch: Option<Prices>,
    flex: Option<Prices>,
    priority: Option<Prices>,
    fast: Option<Prices>,
    context_window: Option<u64>,
    max_input: Option<u64>,
    max_output: Option<u64>,
}

/// Prices, with the condition under which they apply, if any.
#[derive(Deserialize)]
struct Prices {
    from: Option<String>,
    daily_from: Option<String>,
    daily_to: Option<String>,
    above_input_tokens: Option<u64>,
    input: Option<String>,
    cached_input: Option<String>,
    cache_write: Option<String>,
    cache_write_5m: Option<String>,
    cache_write_1h: Option<String>,
    output: Option<String>,
    reasoning_output: Option<String>,
    web_search_per_1000: Option<String>,
    requests_per_1000: Option<String>,
    long_context: Option<Vec<Prices>>,
}

/// Reads the source and writes the table.
pub(crate) fn run(shell: &Shell, options: &Options) -> Result<()> {
    // A path on the command line is relative to the folder in which the command was run.
    let given = std::env::var_os("PWD").map(PathBuf::from).unwrap_or_default().join(&options.source);
    let source: Source = read(shell, &given)?;
    ensure!(source.currency == "USD", "prices must be in USD, not in {}", source.currency);
    let table = table(&source)?;
    shell.write_file(TABLE, &table)?;
    println!("{TABLE}: {} models, {} bytes, as of {}", source.models.len(), table.len(), source.as_of);
    Ok(())
}

fn read(shell: &Shell, path: &Path) -> Result<Source> {
    let text = shell.read_file(path)?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a joined price list", path.display()))
}

fn table(source: &Source) -> Result<String> {
    let mut groups: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for model in &source.models {
        let facts = facts(model).with_context(|| format!("{}/{}", model.provider, model.id))?;
        groups.entry((&model.provider, facts)).or_default().push(&model.id);
    }
    let mut entries: Vec<_> = groups.into_iter().map(|((provider, facts), ids)| (provider, ids, facts)).collect();
    entries.sort();
    let entries = entries.iter().map(|(provider, ids, facts)| {
        let [provider, ids] = [json!(provider), json!(ids)];
        format!("{{\"provider\":{provider},\"ids\":{ids},{facts}}}")
    });
    Ok(format!(
        "{{\n\"about\": {},\n\"sources\": [\n{}\n],\n\"as_of\": {},\n\"models\": [\n{}\n]\n}}\n",
        json!(ABOUT),
        lines(source.sources.iter().map(origin)),
        json!(source.as_of),
        lines(entries),
    ))
}

fn origin(Origin { repo, commit, date, license }: &Origin) -> String {
    let short = commit.get(..12).unwrap_or(commit);
    json!(format!("https://github.com/{repo} at {short} of {date}, {license}")).to_string()
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",\n")
}

/// The fields of a model without its name, the most important ones first.
fn facts(model: &Model) -> Result<String> {
    let limits =
        [("context_window", model.context_window), ("max_input", model.max_input), ("max_output", model.max_output)];
    let mut fields: Vec<_> =
        limits.iter().filter_map(|(name, tokens)| tokens.map(|tokens| field(name, tokens))).collect();
    let (first, changes) = model.periods.split_first().context("a model without prices")?;
    ensure!(first.from.is_none(), "the first prices must not have a start date");
    fields.push(field("standard", prices(first)));
    let changes = changes.iter().map(|change| {
        let from = change.from.as_deref().context("later prices need a date")?;
        Ok(field(from, prices(change)))
    });
    fields.extend(group("changes", &changes.collect::<Result<Vec<_>>>()?));
    let hours = model.daily_schedule_utc.iter().flatten().map(|hours| {
        let (from, to) =
            hours.daily_from.as_deref().zip(hours.daily_to.as_deref()).context("a schedule needs hours")?;
        let [from, to] = [from, to].map(|time| time.trim_end_matches('Z'));
        Ok(field(&format!("{from}/{to}"), prices(hours)))
    });
    fields.extend(group("hours", &hours.collect::<Result<Vec<_>>>()?));
    let tiers = [("batch", &model.batch), ("flex", &model.flex), ("priority", &model.priority), ("fast", &model.fast)];
    // A tier without input or output price is a mistake in the source.
    let whole = |tier: &&Prices| tier.input.is_some() && tier.output.is_some();
    let tiers = tiers.iter().filter_map(|(name, tier)| Some(field(name, prices(tier.as_ref().filter(whole)?))));
    fields.extend(tiers);
    Ok(fields.join(","))
}

fn prices(prices: &Prices) -> String {
    let fields = [
        ("input", &prices.input),
        ("cached_input", &prices.cached_input),
        ("cache_write", if prices.cache_write.is_some() { &prices.cache_write } else { &prices.cache_write_5m }),
        ("cache_write_1h", &prices.cache_write_1h),
        ("output", &prices.output),
        ("reasoning", &prices.reasoning_output),
        ("web_search", &prices.web_search_per_1000),
        ("request", &prices.requests_per_1000),
    ];
    let mut parts: Vec<String> =
        fields.iter().filter_map(|(name, price)| price.as_ref().map(|price| field(name, json!(price)))).collect();
    let tiers = prices.long_context.iter().flatten().map(|tier| {
        let above = tier.above_input_tokens.unwrap_or_default();
        field(&above.to_string(), self::prices(tier))
    });
    parts.extend(group("above", &tiers.collect::<Vec<_>>()));
    object(&parts)
}

fn field(name: &str, value: impl Display) -> String {
    format!("{}:{value}", json!(name))
}

/// A field with an object, unless the object is empty.
fn group(name: &str, fields: &[String]) -> Option<String> {
    (!fields.is_empty()).then(|| field(name, object(fields)))
}

fn object(fields: &[String]) -> String {
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_with_the_same_prices_share_an_entry_and_conditions_are_kept() {
        let model = |id: &str| {
            format!(
                r#"{{"provider": "deepseek", "id": "{id}", "context_window": 64000, "max_output": null,
                "periods": [
                    {{"from": null, "input": "0.27", "output": "1.1", "cache_write_5m": null, "long_context": null}},
                    {{"from": "2026-03-13", "input": "1", "output": "2",
                      "long_context": [{{"above_input_tokens": 200000, "input": "2", "output": "4"}}]}}],
                "daily_schedule_utc": [{{"daily_from": "16:30:00Z", "daily_to": "00:30:00Z", "input": "0.1"}}],
                "batch": {{"input": "0.5"}}, "flex": {{"input": "0.5", "output": "1"}}}}"#
            )
        };
        let text = format!(
            r#"{{"as_of": "2026-08-21", "currency": "USD", "models": [{}, {}],
            "sources": [{{"repo": "a/b", "commit": "0123456789abcdef", "date": "2026-08-20", "license": "MIT"}}]}}"#,
            model("v3"),
            model("chat"),
        );
        let table = table(&serde_json::from_str(&text).unwrap()).unwrap();
        let entry = r#"
"as_of": "2026-08-21",
"models": [
{"provider":"deepseek","ids":["v3","chat"],"context_window":64000,"standard":{"input":"0.27","output":"1.1"},"changes":{"2026-03-13":{"input":"1","output":"2","above":{"200000":{"input":"2","output":"4"}}}},"hours":{"16:30:00/00:30:00":{"input":"0.1"}},"flex":{"input":"0.5","output":"1"}}
]
}
"#;
        assert!(table.ends_with(entry), "{table}");
        assert!(table.contains("\"https://github.com/a/b at 0123456789ab of 2026-08-20, MIT\""));
        assert!(serde_json::from_str::<serde_json::Value>(&table).is_ok());
    }
}
