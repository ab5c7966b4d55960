//! Fixtures that the tests of this crate share.

use serde_json::{Map, Value, json};

use super::{ScriptedModel, Turn};
use crate::{
    Agent, FunctionTool, ModelId, Money, Outcome, PriceCeiling, Pricing, Rate, Rates, ServedCall, Settings, ToolOutput,
    Usage, Worker, tool_fn,
};

/// Prices every model but those called `secret`. Replies have at most 10,000 tokens, so the longest costs ten cents.
#[derive(Debug, Clone)]
pub(crate) struct FlatPrices;

impl FlatPrices {
    /// One dollar for a million input tokens, ten for a million output tokens.
    pub(crate) const RATES: Rates = Rates::new(
        Rate::per_million(Money::from_nano(1_000_000_000)),
        Rate::per_million(Money::from_nano(10_000_000_000)),
    );
}

impl Pricing for FlatPrices {
    fn ceiling(&self, model: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
        let ceiling = PriceCeiling::new(Self::RATES).max_output_tokens(Some(10_000));
        (&**model.model() != "secret").then_some(ceiling)
    }

    fn cost(&self, served: &ServedCall<'_>, usage: &Usage) -> Option<Money> {
        let model = served.model.unwrap_or(served.asked.model());
        (model != "secret").then(|| Self::RATES.cost(usage.input_tokens, usage.output_tokens))
    }
}

pub(crate) fn usd(text: &str) -> Money {
    text.parse().unwrap()
}

/// A tool that accepts any arguments.
pub(crate) fn lookup() -> FunctionTool {
    tool_fn("lookup", "Looks a word up.", |_: Map<String, Value>, _| async { Ok(ToolOutput::text("a cold drink")) })
}

/// A reply that calls [`lookup`].
pub(crate) fn look_up(id: &str, word: &str) -> Turn {
    Turn::call(id, "lookup", json!({ "word": word }))
}

/// Replies that call [`lookup`] with other arguments each time.
pub(crate) fn look_ups(count: usize) -> impl Iterator<Item = Turn> {
    (0..count).map(|index| look_up(&format!("c{index}"), &index.to_string()))
}

/// A worker whose model gives one reply.
pub(crate) fn worker(name: &str, reply: Turn) -> Worker {
    Worker::new(Agent::new(name, ScriptedModel::new([reply])))
}

/// The results of the first turn's tool calls: whether each is an error, and its text.
pub(crate) fn tool_results(outcome: &Outcome) -> Vec<(bool, String)> {
    let results = outcome.transcript.messages()[2].tool_results();
    results.map(|result| (result.is_error, result.text())).collect()
}
