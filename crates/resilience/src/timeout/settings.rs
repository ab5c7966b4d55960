//! Settings of [`Timeout`](crate::Timeout).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Timeouts {
    /// The time until the first delta of a streamed reply. Default 60 s: a provider under load takes tens of seconds,
    /// never minutes.
    #[serde(with = "humantime_serde")]
    pub first_delta: Duration,
    /// The same if the request, or the model's own settings, ask for reasoning. Default 300 s: hidden reasoning emits
    /// nothing for minutes. For models that always reason use [`Timeouts::reasoning`].
    #[serde(with = "humantime_serde")]
    pub first_delta_reasoning: Duration,
    /// The time between two deltas that carry something. Default 120 s: pauses are long where a model thinks between
    /// tool calls. Pings and comments do not count as deltas.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// For a reply that is not streamed: the time per token of `max_output_tokens`, on top of the time until the first
    /// delta. Default 50 ms: models under load still generate 20 tokens a second. Without `max_output_tokens` only
    /// [`attempt`](Self#structfield.attempt) applies.
    #[serde(with = "humantime_serde")]
    pub output_token: Duration,
    /// The time for the whole attempt, streamed or not. Default 600 s: the vendors' own clients wait that long.
    #[serde(with = "humantime_serde")]
    pub attempt: Duration,
}

setters!(Timeouts {
    first_delta: Duration,
    first_delta_reasoning: Duration,
    idle: Duration,
    output_token: Duration,
    attempt: Duration,
});

impl Timeouts {
    /// Timeouts for a model that always reasons: the first delta may take as long as if reasoning had been asked for.
    pub fn reasoning() -> Self {
        let timeouts = Self::default();
        timeouts.first_delta(timeouts.first_delta_reasoning)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_delta: Duration::from_mins(1),
            first_delta_reasoning: Duration::from_mins(5),
            idle: Duration::from_mins(2),
            output_token: Duration::from_millis(50),
            attempt: Duration::from_mins(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_always_reasons_has_five_minutes_for_its_first_delta() {
        let expected = Timeouts { first_delta: Duration::from_mins(5), ..Timeouts::default() };
        assert_eq!(Timeouts::reasoning(), expected);
        assert_eq!(Timeouts::default().first_delta, Duration::from_mins(1));
    }

    #[test]
    fn each_setter_sets_its_own_timeout() {
        let timeouts = Timeouts::default()
            .first_delta(Duration::from_secs(1))
            .first_delta_reasoning(Duration::from_secs(2))
            .idle(Duration::from_secs(3))
            .output_token(Duration::from_secs(4))
            .attempt(Duration::from_secs(5));
        let Timeouts { first_delta, first_delta_reasoning, idle, output_token, attempt } = timeouts;
        let all = [first_delta, first_delta_reasoning, idle, output_token, attempt];
        assert_eq!(all, [1, 2, 3, 4, 5].map(Duration::from_secs));
    }
}
