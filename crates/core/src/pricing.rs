//! What model calls cost, as far as the ledger must know.

use std::fmt;

use crate::{ChatReply, ModelId, Money, Usage};

/// Knows what models cost.
pub trait Pricing: fmt::Debug + Send + Sync + 'static {
    /// The most that a call may cost: each price at the dearest rate that can apply to a prompt of `input_tokens`.
    /// Absent if the model has no price.
    fn ceiling(&self, model: &ModelId, input_tokens: u64) -> Option<Ceiling>;

    /// What a call cost, at the price of the model and service tier that really answered. Absent if it has no price.
    fn cost(&self, asked: &ModelId, reply: &ChatReply, usage: &Usage) -> Option<Money>;
}

/// The dearest prices that can apply to one call, and the model's own limit of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// One prompt token.
    pub input_token: Money,
    /// One generated token.
    pub output_token: Money,
    /// The most tokens that the model can generate, if known.
    pub max_output_tokens: Option<u32>,
}
