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
    /// Prompt tokens at four bytes a token.
    input: u64,
    max_output: Option<u64>,
}

/// What calls take on average, compared with what their requests say.
#[derive(Debug)]
pub(crate) struct Experience {
    /// Counted prompt tokens for a thousand estimated ones.
    input_permille: u64,
    output: u64,
}

/// Tokens of an answer before any was seen; a page of text.
const FIRST_OUTPUT: u64 = 500;

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
        Self { input_permille: 1_000, output: FIRST_OUTPUT }
    }

    /// What a call will probably take.
    pub(crate) fn expect(&self, demand: &Demand, charging: Charging) -> Draw {
        let input = demand.input.saturating_mul(self.input_permille) / 1_000;
        let output = self.output.min(demand.max_output.unwrap_or(u64::MAX));
        Draw::of(charging, (input, output), demand.max_output)
    }

    /// Learns from what a call has taken.
    pub(crate) fn learn(&mut self, demand: &Demand, taken: &Draw) {
        // Rises at once and falls slowly: an estimate too low costs a refusal, one too high only a refund.
        if let Some(seen) = taken.input.saturating_mul(1_000).checked_div(demand.input) {
            let seen = seen.clamp(250, 4_000);
            let fallen = self.input_permille - self.input_permille.saturating_sub(seen) / 16;
            self.input_permille = fallen.max(seen);
        }
        self.output = (self.output.saturating_mul(7).saturating_add(taken.output)) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage { cache_read_tokens: Some(900), cache_write_tokens: Some(50), ..Usage::new(1_000, 200) };

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
        let demand = Demand { input: 100, max_output: None };
        let mut experience = Experience::new();
        let mut seen = |input| {
            experience.learn(&demand, &Draw { requests: 1, input, output: 0, total: input });
            experience.expect(&demand, Charging::OpenAi).input
        };
        assert_eq!(seen(150), 150);
        assert_eq!(seen(100), 146);
        assert_eq!(seen(1_000_000), 400);
        assert_eq!((0..200).map(|_| seen(0)).last(), Some(26));
    }
}
