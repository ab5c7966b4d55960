//! Estimates how many tokens a model counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{ChatRequest, Message, Part, Usage};

/// Estimates how many tokens a model counts for a text, without a tokenizer: the length of the text, corrected by the
/// usage that the model reported for earlier ones.
#[derive(Debug)]
pub struct TokenEstimator {
    /// Counted input tokens per thousand estimated ones.
    input_per_mille: AtomicU64,
    /// The input tokens that the provider adds to a prompt without tools.
    added: AtomicU64,
    /// The input tokens that the provider adds to a prompt with tools.
    added_with_tools: AtomicU64,
    /// The output tokens of recent answers.
    output_tokens: AtomicU64,
    /// The size of the same answers.
    output_bytes: AtomicU64,
}

/// In a shorter prompt, the tokens that the provider adds would distort the rate. In a longer one they hardly count.
const LONG_PROMPT_TOKENS: u64 = 256;

/// More than any provider is known to add: with tools, Anthropic adds about 500.
const MAX_ADDED_TOKENS: u64 = 2_048;

/// The bounds of the rate, relative to four bytes per token, so that one wrong report cannot distort all later estimates.
const PER_MILLE: std::ops::RangeInclusive<u64> = 500..=3_000;

/// About fifty pages. With every answer beyond this sum, the weight of all earlier answers is halved.
const MEMORY_BYTES: u64 = 128 * 1_024;

impl TokenEstimator {
    /// An estimator that has not seen any reply yet.
    pub const fn new() -> Self {
        Self {
            input_per_mille: AtomicU64::new(1_000),
            added: AtomicU64::new(0),
            added_with_tools: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
        }
    }

    /// The estimated input tokens of a request.
    pub fn input(&self, request: &ChatRequest) -> u64 {
        self.at_rate(request.estimated_input_tokens()).saturating_add(self.added(request).load(Ordering::Relaxed))
    }

    /// The estimated output tokens of an answer.
    pub fn output(&self, answer: &Message) -> u64 {
        let estimated = (answer.size_bytes() as u64).div_ceil(4);
        let tokens = self.output_tokens.load(Ordering::Relaxed);
        let bytes = self.output_bytes.load(Ordering::Relaxed);
        let per_mille = tokens.saturating_mul(4_000).checked_div(bytes).unwrap_or(1_000);
        scaled(estimated, bounded(per_mille))
    }

    /// Learns from the reported usage of a call. The estimate of input follows a rise at once and a fall slowly: too high
    /// an estimate reserves a little too much for a moment, too low a one exceeds a limit.
    pub fn learn(&self, request: &ChatRequest, answer: &Message, usage: &Usage) {
        let estimated = request.estimated_input_tokens();
        let added = self.added(request);
        if estimated < LONG_PROMPT_TOKENS {
            let seen = usage.input_tokens.saturating_sub(self.at_rate(estimated));
            follow(added, seen.min(MAX_ADDED_TOKENS));
        } else {
            let counted = usage.input_tokens.saturating_sub(added.load(Ordering::Relaxed));
            follow(&self.input_per_mille, bounded(counted.saturating_mul(1_000) / estimated));
        }
        self.learn_output(answer, usage);
    }

    /// Uses sums, so that long answers weigh more than short ones. Reasoning counts only if the answer shows it.
    fn learn_output(&self, answer: &Message, usage: &Usage) {
        let shows_reasoning =
            answer.parts().iter().any(|part| matches!(part, Part::Thinking(thinking) if !thinking.text.is_empty()));
        let hidden = if shows_reasoning { 0 } else { usage.reasoning_tokens.unwrap_or(0) };
        let is_full = self.output_bytes.load(Ordering::Relaxed) > MEMORY_BYTES;
        let add = |sum: &AtomicU64, amount: u64| {
            // A concurrent reply may get lost, which is harmless.
            let before = sum.load(Ordering::Relaxed);
            sum.store((if is_full { before / 2 } else { before }).saturating_add(amount), Ordering::Relaxed);
        };
        add(&self.output_tokens, usage.output_tokens.saturating_sub(hidden));
        add(&self.output_bytes, answer.size_bytes() as u64);
    }

    fn at_rate(&self, estimated: u64) -> u64 {
        scaled(estimated, self.input_per_mille.load(Ordering::Relaxed))
    }

    fn added(&self, request: &ChatRequest) -> &AtomicU64 {
        if request.tools.is_empty() { &self.added } else { &self.added_with_tools }
    }
}

impl Default for TokenEstimator {
    fn default() -> Self {
        Self::new()
    }
}

/// Raises `value` to `seen` at once, or lowers it by an eighth of the difference.
fn follow(value: &AtomicU64, seen: u64) {
    let old = value.load(Ordering::Relaxed);
    let new = if seen >= old { seen } else { old - (old - seen).div_ceil(8) };
    value.store(new, Ordering::Relaxed);
}

fn bounded(per_mille: u64) -> u64 {
    per_mille.clamp(*PER_MILLE.start(), *PER_MILLE.end())
}

fn scaled(tokens: u64, per_mille: u64) -> u64 {
    tokens.saturating_mul(per_mille).div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RawJson, ToolSet, ToolSpec};

    fn prompt(bytes: usize) -> ChatRequest {
        ChatRequest::new("w".repeat(bytes))
    }

    fn answer(bytes: usize) -> Message {
        Message::assistant("w".repeat(bytes))
    }

    #[test]
    fn tokens_added_to_each_prompt_are_separate_from_the_rate_and_depend_on_tools() {
        let estimator = TokenEstimator::new();
        let schema = RawJson::parse("{}".to_owned()).unwrap();
        let with_tools = ChatRequest { tools: ToolSet::new(vec![ToolSpec::new("t", "", schema)]), ..prompt(40) };
        let before = estimator.input(&with_tools);
        estimator.learn(&with_tools, &answer(40), &Usage::new(before + 500, 10));
        assert_eq!(estimator.input(&with_tools), before + 500);
        assert_eq!(estimator.input(&prompt(40)), prompt(40).estimated_input_tokens());
        let long = ChatRequest { tools: with_tools.tools.clone(), ..prompt(40_000) };
        assert_eq!(estimator.input(&long), long.estimated_input_tokens() + 500);
        estimator.learn(&long, &answer(40), &Usage::new(500 + 2 * long.estimated_input_tokens(), 10));
        assert_eq!(estimator.input(&long), 500 + 2 * long.estimated_input_tokens());
    }

    #[test]
    fn answers_are_estimated_from_the_usage_of_earlier_ones() {
        let estimator = TokenEstimator::new();
        assert_eq!(estimator.output(&answer(400)), 100);
        estimator.learn(&prompt(4), &answer(4_000), &Usage::new(8, 800));
        assert_eq!(estimator.output(&answer(400)), 80);
        let hidden = Usage::new(8, 9_800).reasoning_tokens(Some(9_000));
        estimator.learn(&prompt(4), &answer(4_000), &hidden);
        assert_eq!(estimator.output(&answer(400)), 80, "hidden reasoning has no length");
        estimator.learn(&prompt(4), &answer(1), &Usage::new(8, 1_000_000));
        assert_eq!(estimator.output(&answer(400)), 300, "bounded");
        for _ in 0..60 {
            estimator.learn(&prompt(4), &answer(64_000), &Usage::new(8, 16_000));
        }
        assert_eq!(estimator.output(&answer(400)), 100, "old answers are forgotten");
    }
}
