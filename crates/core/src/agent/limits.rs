//! Limits of an agent.

use crate::GuardLimits;

/// Limits of one agent in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Model turns. Useful work ends well before 25; what goes on longer has lost its way.
    pub turns: u32,
    /// How often the model is asked again when its answer is empty or does not match the schema.
    pub reasks: u32,
    /// When repetition is noticed and stopped.
    pub guard: GuardLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns: 25, reasks: 2, guard: GuardLimits::default() }
    }
}
