//! Estimates how many tokens a model counts.

use std::sync::atomic::{AtomicU64, Ordering};

use brigade_core::ChatRequest;

/// Estimates how many input tokens a model counts for a request, without a tokenizer: the length of the text, corrected
/// by the usage that the model reported for earlier ones.
#[derive(Debug)]
pub(crate) struct TokenEstimator {
    /// Counted input tokens per thousand estimated ones.
    input_per_mille: AtomicU64,
    /// The input tokens that the provider adds to a prompt without tools.
    added: AtomicU64,
    /// The input tokens that the provider adds to a prompt with tools.
    added_with_tools: AtomicU64,
}

/// In a shorter prompt, the tokens that the provider adds would distort the rate. In a longer one they hardly count.
const LONG_PROMPT_TOKENS: u64 = 256;

/// More than any provider is known to add: with tools, Anthropic adds about 500.
const MAX_ADDED_TOKENS: u64 = 2_048;

/// The bounds of the rate, relative to four bytes per token, so that one wrong report cannot distort all later estimates.
const PER_MILLE: std::ops::RangeInclusive<u64> = 500..=3_000;

impl TokenEstimator {
    /// An estimator that has not seen any reply yet.
    pub(crate) const fn new() -> Self {
        Self { input_per_mille: AtomicU64::new(1_000), added: AtomicU64::new(0), added_with_tools: AtomicU64::new(0) }
    }

    /// The estimated input tokens of a request.
    pub(crate) fn input(&self, request: &ChatRequest) -> u64 {
        self.at_rate(request.estimated_input_tokens()).saturating_add(self.added(request).load(Ordering::Relaxed))
    }

    /// Learns from the input tokens that a model counted for a request. The estimate follows a rise at once and a fall
    /// slowly: too high an estimate waits a little too long, too low a one exceeds a limit.
    pub(crate) fn learn(&self, request: &ChatRequest, counted: u64) {
        let estimated = request.estimated_input_tokens();
        let added = self.added(request);
        if estimated < LONG_PROMPT_TOKENS {
            let seen = counted.saturating_sub(self.at_rate(estimated));
            follow(added, seen.min(MAX_ADDED_TOKENS));
        } else {
            let counted = counted.saturating_sub(added.load(Ordering::Relaxed));
            let per_mille = counted.saturating_mul(1_000) / estimated;
            follow(&self.input_per_mille, per_mille.clamp(*PER_MILLE.start(), *PER_MILLE.end()));
        }
    }

    fn at_rate(&self, estimated: u64) -> u64 {
        estimated.saturating_mul(self.input_per_mille.load(Ordering::Relaxed)).div_ceil(1_000)
    }

    fn added(&self, request: &ChatRequest) -> &AtomicU64 {
        if request.tools.is_empty() { &self.added } else { &self.added_with_tools }
    }
}

/// Raises `value` to `seen` at once, or lowers it by an eighth of the difference.
fn follow(value: &AtomicU64, seen: u64) {
    let old = value.load(Ordering::Relaxed);
    let new = if seen >= old { seen } else { old - (old - seen).div_ceil(8) };
    value.store(new, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use brigade_core::{RawJson, ToolSet, ToolSpec};

    use super::*;

    fn prompt(bytes: usize) -> ChatRequest {
        ChatRequest::new("w".repeat(bytes))
    }

    #[test]
    fn tokens_added_to_each_prompt_are_separate_from_the_rate_and_depend_on_tools() {
        let estimator = TokenEstimator::new();
        let schema = RawJson::parse("{}".to_owned()).unwrap();
        let tools = ToolSet::new(vec![ToolSpec::new("t", "", schema)]);
        let with_tools = prompt(40).tools(tools.clone());
        let before = estimator.input(&with_tools);
        estimator.learn(&with_tools, before + 500);
        assert_eq!(estimator.input(&with_tools), before + 500);
        assert_eq!(estimator.input(&prompt(40)), prompt(40).estimated_input_tokens());
        let long = prompt(40_000).tools(tools);
        assert_eq!(estimator.input(&long), long.estimated_input_tokens() + 500);
        estimator.learn(&long, 500 + 2 * long.estimated_input_tokens());
        assert_eq!(estimator.input(&long), 500 + 2 * long.estimated_input_tokens());
        estimator.learn(&prompt(4), 1_000_000);
        assert_eq!(estimator.input(&prompt(0)), 2_048 + 2 * prompt(0).estimated_input_tokens(), "within limits");
    }

    #[test]
    fn the_rate_rises_at_once_and_falls_slowly_within_limits() {
        let (estimator, long) = (TokenEstimator::new(), prompt(3_972));
        let estimated = long.estimated_input_tokens();
        assert_eq!(estimated, 1_000);
        let learned = |counted| {
            estimator.learn(&long, counted);
            estimator.input(&long) * 1_000 / estimated
        };
        assert_eq!(learned(estimated * 8 / 5), 1_600);
        assert_eq!(learned(estimated * 4 / 5), 1_500);
        assert_eq!(learned(estimated * 9), 3_000);
        for _ in 0..200 {
            learned(0);
        }
        assert_eq!(learned(0), 500);
    }

    #[test]
    fn a_prompt_of_256_estimated_tokens_is_long() {
        let (short, long) = (prompt(4 * 248), prompt(4 * 249));
        assert_eq!((short.estimated_input_tokens(), long.estimated_input_tokens()), (255, 256));
        let learned = |request: &ChatRequest, counted| {
            let estimator = TokenEstimator::new();
            estimator.learn(request, counted);
            (estimator.input(&prompt(40_000)), estimator.input(&prompt(40_000).instructions(None)))
        };
        let plain = prompt(40_000).estimated_input_tokens();
        assert_eq!(learned(&short, 510).0, plain + 255);
        assert_eq!(learned(&long, 512).0, 2 * plain);
    }
}
