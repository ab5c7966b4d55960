//! Limits on tool calls.

use std::time::Duration;

use crate::OnExhausted;

/// Limits on the tool calls of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolLimits {
    /// How many calls of one turn run at a time; 8 by default. Models ask for a handful; running more at once only
    /// overloads the services that the tools use.
    pub parallel: usize,
    /// How long one call may take, unless its [`ToolSpec::timeout`](crate::ToolSpec::timeout) says otherwise; 30 seconds
    /// by default.
    pub timeout: Duration,
    /// How many bytes of a tool's text are kept; 256 KiB by default. The rest is cut off with a marker: it would be
    /// sent, and paid for, on every later turn.
    pub output_bytes: usize,
    /// The most bytes of arguments; 1 MiB by default. No useful call needs more, and each byte was paid for as output.
    pub argument_bytes: usize,
    /// Whether workers that are still running are cancelled when another worker has used up a budget that they share.
    /// By default they finish: their calls so far are paid for either way.
    pub on_exhausted: OnExhausted,
}

setters!(ToolLimits {
    parallel: usize,
    timeout: Duration,
    output_bytes: usize,
    argument_bytes: usize,
    on_exhausted: OnExhausted,
});

impl Default for ToolLimits {
    fn default() -> Self {
        Self {
            parallel: 8,
            timeout: Duration::from_secs(30),
            output_bytes: 256 * 1024,
            argument_bytes: 1024 * 1024,
            on_exhausted: OnExhausted::default(),
        }
    }
}
