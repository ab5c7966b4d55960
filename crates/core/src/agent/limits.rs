//! Limits on the loop of one agent.

/// How long one agent may work on one task, and how much repetition ends its run.
///
/// ```
/// use brigade_core::TurnLimits;
///
/// let limits = TurnLimits::default().turns(10);
/// assert_eq!((limits.turns, limits.reasks), (10, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnLimits {
    /// Model turns. 25 by default: useful work takes fewer, and an agent that needs more has usually lost its way.
    pub turns: u32,
    /// How often the model is asked again when its answer is empty or does not match the schema. 2 by default.
    pub reasks: u32,
    /// The number of calls of one tool with the same arguments and the same result at which the model gets a notice. 3 by
    /// default, because polling twice is normal.
    pub repeats_before_notice: u32,
    /// The number of such calls at which the run ends. 5 by default.
    pub repeats: u32,
    /// The number of calls of tools that do not exist, whatever their names, at which the run ends. 3 by default.
    pub unknown_tools: u32,
    /// The number of calls in a row with unusable arguments at which the run ends. 3 by default.
    pub invalid_arguments: u32,
    /// The number of turns in a row in which all calls of a tool failed, after which the tool is switched off for the
    /// rest of the run. 3 by default: each try costs the prompt once more, and three failures in a row are rarely a
    /// short disturbance.
    pub tool_failures: u32,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            turns: 25,
            reasks: 2,
            repeats_before_notice: 3,
            repeats: 5,
            unknown_tools: 3,
            invalid_arguments: 3,
            tool_failures: 3,
        }
    }
}

setters!(TurnLimits {
    turns: u32,
    reasks: u32,
    repeats_before_notice: u32,
    repeats: u32,
    unknown_tools: u32,
    invalid_arguments: u32,
    tool_failures: u32,
});
