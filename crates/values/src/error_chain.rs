//! Prints an error together with its causes.

use std::{error::Error, fmt};

/// Displays an error and its causes in one line: `the reply cannot be read: expected value at line 1`.
///
/// ```
/// use brigade_core::ErrorChain;
///
/// let error = "abc".parse::<u32>().unwrap_err();
/// assert_eq!(ErrorChain(&error).to_string(), "invalid digit found in string");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'a));

/// A longer chain is a cycle, or of no use to a reader.
const MAX_CAUSES: usize = 8;

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| (*error).source())
            .take(MAX_CAUSES)
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}
