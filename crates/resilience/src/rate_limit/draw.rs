//! What a call takes from its limits.

use brigade_core::{ChatRequest, Settings, Usage};

use crate::Charging;

/// How many dimensions a limit can have.
pub(crate) const DIMENSIONS: usize = 6;

/// What a call takes from its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draw {
    pub(crate) requests: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) total: u64,
}

/// What a request says about how much it will take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Prompt tokens, as the request estimates them.
    input: u64,
    max_output: Option<u64>,
}

/// What calls take on average, compared with what their requests say.
#[derive(Debug)]
pub(crate) struct Experience {
    /// Counted prompt tokens for a thousand estimated ones.
    input_permille: u64,
    /// What the provider adds to each prompt.
    added: u64,
    output: u64,
}

/// Tokens of an answer before any was seen; a page of text.
const FIRST_OUTPUT: u64 = 500;

/// In a shorter prompt, what the provider adds to each would be taken for a rate.
const LONG_PROMPT_TOKENS: u64 = 256;

/// More than any provider is known to add: with tools, Anthropic adds some 500.
const MOST_ADDED_TOKENS: u64 = 2_048;

impl Draw {
    /// The amounts in the order of the limiter's dimensions.
    pub(crate) fn amounts(&self) -> [u64; DIMENSIONS] {
        [self.requests, self.input, self.output, self.total, self.requests, self.total]
    }

    fn of(charging: Charging, (input, output): (u64, u64), max_output: Option<u64>) -> Self {
        let total = match charging {
            Charging::OpenAi => input.max(max_output.unwrap_or(0)),
            Charging::Anthropic | Charging::Used => input.saturating_add(output),
        };
        Self { requests: 1, input, output, total }
    }
}

impl Demand {
    /// What `request` says, and what the model's own settings say where it says nothing.
    pub(crate) fn of(request: &ChatRequest, settings: &Settings) -> Self {
        let max_output = request.settings.output_limit_over(settings);
        Self { input: request.estimated_input_tokens(), max_output: max_output.map(u64::from) }
    }

    /// What was taken according to reported usage.
    pub(crate) fn taken(&self, usage: &Usage, charging: Charging) -> Draw {
        let cached = match charging {
            Charging::Anthropic => usage.cache_read_tokens.unwrap_or(0),
            Charging::OpenAi | Charging::Used => 0,
        };
        Draw::of(charging, (usage.input_tokens.saturating_sub(cached), usage.output_tokens), self.max_output)
    }
}

impl Experience {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { input_permille: 1_000, added: 0, output: FIRST_OUTPUT }
    }

    /// What a call will probably take.
    pub(crate) fn expect(&self, demand: &Demand, charging: Charging) -> Draw {
        let input = self.at_rate(demand.input).saturating_add(self.added);
        let output = self.output.min(demand.max_output.unwrap_or(u64::MAX));
        Draw::of(charging, (input, output), demand.max_output)
    }

    /// Learns from what a call has taken.
    pub(crate) fn learn(&mut self, demand: &Demand, taken: &Draw) {
        // Rises at once and falls slowly: an estimate too low costs a refusal, one too high only a refund.
        if demand.input < LONG_PROMPT_TOKENS {
            self.added =
                follow(self.added, taken.input.saturating_sub(self.at_rate(demand.input)).min(MOST_ADDED_TOKENS));
        } else {
            let seen = taken.input.saturating_sub(self.added).saturating_mul(1_000) / demand.input;
            self.input_permille = follow(self.input_permille, seen.clamp(250, 4_000));
        }
        self.output = (self.output.saturating_mul(7).saturating_add(taken.output)) / 8;
    }

    fn at_rate(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(self.input_permille) / 1_000
    }
}

fn follow(old: u64, seen: u64) -> u64 {
    (old - old.saturating_sub(seen) / 16).max(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage::new(1_000, 200).cache_read_tokens(Some(900)).cache_write_tokens(Some(50));

    fn taken(charging: Charging, max_output: Option<u64>) -> [u64; 3] {
        let Draw { input, output, total, .. } = Demand { input: 800, max_output }.taken(&USAGE, charging);
        [input, output, total]
    }

    #[test]
    fn each_provider_counts_tokens_its_own_way() {
        assert_eq!(taken(Charging::Used, Some(4_000)), [1_000, 200, 1_200]);
        assert_eq!(taken(Charging::OpenAi, Some(4_000)), [1_000, 200, 4_000]);
        assert_eq!(taken(Charging::OpenAi, Some(100)), [1_000, 200, 1_000]);
        assert_eq!(taken(Charging::OpenAi, None), [1_000, 200, 1_000]);
        assert_eq!(taken(Charging::Anthropic, Some(4_000)), [100, 200, 300]);
    }

    #[test]
    fn estimates_rise_at_once_fall_slowly_and_keep_within_bounds() {
        let demand = Demand { input: 1_000, max_output: None };
        let mut experience = Experience::new();
        let mut seen = |input| {
            experience.learn(&demand, &Draw { requests: 1, input, output: 0, total: input });
            experience.expect(&demand, Charging::OpenAi).input
        };
        assert_eq!(seen(1_500), 1_500);
        assert_eq!(seen(1_000), 1_469);
        assert_eq!(seen(1_000_000), 4_000);
        assert_eq!((0..200).map(|_| seen(0)).last(), Some(265));
    }

    #[test]
    fn what_is_added_to_short_prompts_is_no_rate_of_long_ones() {
        let mut experience = Experience::new();
        let short = Demand { input: 100, max_output: None };
        experience.learn(&short, &Draw { requests: 1, input: 600, output: 0, total: 600 });
        let expected = |demand: &Demand| experience.expect(demand, Charging::OpenAi).input;
        assert_eq!((expected(&short), expected(&Demand { input: 10_000, max_output: None })), (600, 10_500));
    }
}
