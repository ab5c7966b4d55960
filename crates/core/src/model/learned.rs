//! What a model's replies have taught about how it counts tokens.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{ChatRequest, Message, Part, Usage};

/// What a model's replies have taught about how it counts tokens. No tokenizer is run: the estimate of a text by its
/// length is corrected by what was counted for earlier ones.
#[derive(Debug)]
pub(crate) struct Learned {
    /// Tokens of a prompt for a thousand estimated ones.
    input_per_mille: AtomicU64,
    /// Tokens that the provider adds to each prompt, without tools and with them.
    added: [AtomicU64; 2],
    /// Tokens of the answers so far, and their bytes.
    output: [AtomicU64; 2],
}

/// In a shorter prompt, what the provider adds to each would be taken for a rate; in a longer one, it hardly counts.
const LONG_PROMPT_TOKENS: u64 = 256;

/// More than any provider is known to add: with tools, Anthropic adds some 500.
const MOST_ADDED_TOKENS: u64 = 2_048;

/// How far from four bytes a token a model may be. Bounded, so that one odd report cannot starve or loosen every later
/// call.
const PER_MILLE: std::ops::RangeInclusive<u64> = 500..=3_000;

/// Some fifty pages; what was said before counts half.
const MEMORY_BYTES: u64 = 128 * 1_024;

impl Learned {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { input_per_mille: AtomicU64::new(1_000), added: Default::default(), output: Default::default() }
    }

    /// About how many tokens the provider will count for this prompt.
    pub(crate) fn input(&self, request: &ChatRequest) -> u64 {
        let added = self.added(request).map_or(0, |added| added.load(Ordering::Relaxed));
        self.at_rate(request.estimated_input_tokens()).saturating_add(added)
    }

    /// About how many tokens the provider has counted for this answer.
    pub(crate) fn output(&self, answer: &Message) -> u64 {
        let estimated = (answer.size_bytes() as u64).div_ceil(4);
        let [tokens, bytes] = [0, 1].map(|index| self.output.get(index).map_or(0, |sum| sum.load(Ordering::Relaxed)));
        let per_mille = tokens.saturating_mul(4_000).checked_div(bytes).unwrap_or(1_000);
        scaled(estimated, within(per_mille))
    }

    /// Follows a rise of the prompt at once and a fall slowly: an estimate that is too high costs a little room for a
    /// moment, one that is too low overruns a limit.
    pub(crate) fn learn(&self, request: &ChatRequest, answer: &Message, usage: &Usage) {
        let estimated = request.estimated_input_tokens();
        let Some(added) = self.added(request) else { return };
        if estimated < LONG_PROMPT_TOKENS {
            let seen = usage.input_tokens.saturating_sub(self.at_rate(estimated));
            follow(added, seen.min(MOST_ADDED_TOKENS));
        } else {
            let said = usage.input_tokens.saturating_sub(added.load(Ordering::Relaxed));
            follow(&self.input_per_mille, within(said.saturating_mul(1_000) / estimated));
        }
        self.learn_output(answer, usage);
    }

    /// By sums, so that long answers weigh more than short ones. Reasoning counts where it is shown.
    fn learn_output(&self, answer: &Message, usage: &Usage) {
        let is_shown =
            answer.parts().iter().any(|part| matches!(part, Part::Thinking(shown) if !shown.text.is_empty()));
        let hidden = if is_shown { 0 } else { usage.reasoning_tokens.unwrap_or(0) };
        let seen = [usage.output_tokens.saturating_sub(hidden), answer.size_bytes() as u64];
        let [_, bytes] = &self.output;
        let is_full = bytes.load(Ordering::Relaxed) > MEMORY_BYTES;
        for (sum, seen) in self.output.iter().zip(seen) {
            // Two replies at once may count as one; nothing hangs on it.
            let before = sum.load(Ordering::Relaxed);
            sum.store((if is_full { before / 2 } else { before }).saturating_add(seen), Ordering::Relaxed);
        }
    }

    fn at_rate(&self, estimated: u64) -> u64 {
        scaled(estimated, self.input_per_mille.load(Ordering::Relaxed))
    }

    fn added(&self, request: &ChatRequest) -> Option<&AtomicU64> {
        self.added.get(usize::from(!request.tools.is_empty()))
    }
}

fn follow(value: &AtomicU64, seen: u64) {
    let old = value.load(Ordering::Relaxed);
    let new = if seen >= old { seen } else { old - (old - seen).div_ceil(8) };
    value.store(new, Ordering::Relaxed);
}

fn within(per_mille: u64) -> u64 {
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
    fn what_is_added_to_each_prompt_is_told_from_the_rate_and_with_tools_is_something_else() {
        let learned = Learned::new();
        let schema = RawJson::parse("{}".to_owned()).unwrap();
        let with_tools = ChatRequest { tools: ToolSet::new(vec![ToolSpec::new("t", "", schema)]), ..prompt(40) };
        let before = learned.input(&with_tools);
        learned.learn(&with_tools, &answer(40), &Usage::new(before + 500, 10));
        assert_eq!(learned.input(&with_tools), before + 500);
        assert_eq!(learned.input(&prompt(40)), prompt(40).estimated_input_tokens());
        let long = ChatRequest { tools: with_tools.tools.clone(), ..prompt(40_000) };
        assert_eq!(learned.input(&long), long.estimated_input_tokens() + 500);
        learned.learn(&long, &answer(40), &Usage::new(500 + 2 * long.estimated_input_tokens(), 10));
        assert_eq!(learned.input(&long), 500 + 2 * long.estimated_input_tokens());
    }

    #[test]
    fn answers_are_estimated_by_what_earlier_ones_had() {
        let learned = Learned::new();
        assert_eq!(learned.output(&answer(400)), 100);
        learned.learn(&prompt(4), &answer(4_000), &Usage::new(8, 800));
        assert_eq!(learned.output(&answer(400)), 80);
        let hidden = Usage::new(8, 9_800).reasoning_tokens(Some(9_000));
        learned.learn(&prompt(4), &answer(4_000), &hidden);
        assert_eq!(learned.output(&answer(400)), 80, "what is not shown has no length");
        learned.learn(&prompt(4), &answer(1), &Usage::new(8, 1_000_000));
        assert_eq!(learned.output(&answer(400)), 300, "bounded");
        for _ in 0..60 {
            learned.learn(&prompt(4), &answer(64_000), &Usage::new(8, 16_000));
        }
        assert_eq!(learned.output(&answer(400)), 100, "what is long ago is forgotten");
    }
}
