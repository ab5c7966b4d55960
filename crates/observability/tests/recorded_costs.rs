//! Compares costs that providers stated with the bundled prices.
//!
//! `cargo test -p brigade-observability --test recorded_costs -- --nocapture` reads the recordings below
//! `$BRIGADE_RECORDINGS`, by default the folder `shared/recordings` beside the workspace. OpenRouter states dollars as a
//! float, xAI ticks of 10⁻¹⁰ dollars.

use std::{
    fs,
    path::{Path, PathBuf},
};

use brigade_core::{ModelId, Money, Pricing as _, ServedCall, Usage};
use brigade_observability::PriceBook;
use serde_json::Value;

/// A call whose cost the provider stated.
#[derive(Debug)]
struct BilledCall {
    asked: ModelId,
    answered: String,
    usage: Usage,
    cost: Money,
}

#[test]
fn the_table_agrees_with_stated_costs() {
    let folder = folder();
    let mut calls = read(&folder.join("openai-compatible-openrouter"), "openrouter");
    calls.extend(read(&folder.join("openai-compatible-xai"), "xai"));
    if calls.is_empty() {
        let reason = format!("there are none at {}; set BRIGADE_RECORDINGS", folder.display());
        brigade_core::testing::skip_test("recorded costs", &reason);
        return;
    }
    let prices = PriceBook::bundled();
    let (mut agree, mut differ) = (0, Vec::new());
    for call in calls.iter().filter(|call| is_billed_like_its_maker(call)) {
        let served = ServedCall::new(&call.asked).model(Some(&call.answered));
        match prices.cost(&served, &call.usage) {
            // Floats are truncated; the table rounds up to a nano-dollar.
            Some(cost) if (cost - call.cost).nano().abs() <= 1 => agree += 1,
            cost => differ.push(format!("{call:?}: {cost:?}")),
        }
    }
    println!(
        "recorded costs: {agree} agree, {} differ, {} at prices of other hosts",
        differ.len(),
        calls.len() - agree
    );
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(agree >= 30, "{agree}");
}

/// OpenRouter charges the prices of these vendors; open models cost what their host charges.
fn is_billed_like_its_maker(call: &BilledCall) -> bool {
    let makers = ["openai/gpt-", "anthropic/", "x-ai/"];
    let model = call.asked.model();
    &**call.asked.provider() == "xai" || makers.iter().any(|maker| model.starts_with(maker)) && !model.contains("oss")
}

fn folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    std::env::var_os("BRIGADE_RECORDINGS").map_or_else(default, PathBuf::from)
}

fn read(folder: &Path, account: &'static str) -> Vec<BilledCall> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| stated(&fs::read_to_string(file.path()).ok()?, account)).collect()
}

/// The last document with usage is the one that counts. Searches and parsed files are billed on top of tokens.
fn stated(text: &str, account: &'static str) -> Option<BilledCall> {
    let recording: Value = serde_json::from_str(text).ok()?;
    let stream = recording.pointer("/response/sse").and_then(Value::as_str).unwrap_or_default();
    let events = stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok());
    let documents: Vec<Value> = recording.pointer("/response/body").cloned().into_iter().chain(events).collect();
    let mut unwrapped = documents.iter().map(|document| document.get("response").unwrap_or(document));
    let last = unwrapped.rfind(|document| document.get("usage").is_some_and(Value::is_object))?;
    let usage = last.get("usage")?;
    let cost = cost(usage).filter(|cost| *cost > Money::ZERO)?;
    let asked = recording.pointer("/request/body/model")?.as_str()?;
    let searches = ["/server_tool_use_details/web_search_requests", "/num_server_side_tools_used"];
    let files = recording.get("tags")?.as_array()?.iter().any(|tag| tag == "file_input");
    (count(usage, searches) == 0 && !files).then(|| BilledCall {
        asked: ModelId::new(account, asked),
        answered: last.get("model").and_then(Value::as_str).unwrap_or_default().to_owned(),
        usage: tokens(usage),
        cost,
    })
}

fn cost(usage: &Value) -> Option<Money> {
    if let Some(ticks) = usage.get("cost_in_usd_ticks") {
        return Some(Money::from_nano(ticks.as_i64()? / 10));
    }
    format!("{:.9}", usage.get("cost")?.as_f64()?).parse().ok()
}

fn tokens(usage: &Value) -> Usage {
    let input = count(usage, ["/prompt_tokens", "/input_tokens"]);
    let output = count(usage, ["/completion_tokens", "/output_tokens"]);
    let read = ["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"];
    let written = ["/prompt_tokens_details/cache_write_tokens", "/input_tokens_details/cache_write_tokens"];
    Usage::new(input, output)
        .cache_read_tokens(Some(count(usage, read)))
        .cache_write_tokens(Some(count(usage, written)))
}

/// The number at the first of these paths that has one.
fn count(usage: &Value, places: [&str; 2]) -> u64 {
    places.iter().find_map(|place| usage.pointer(place)?.as_u64()).unwrap_or(0)
}
