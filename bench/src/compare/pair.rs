//! A value for each contender.

use anyhow::Result;

use crate::compare::contender::Contender;

/// A value for each contender.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pair<T> {
    pub(crate) brigade: T,
    pub(crate) hand_written: T,
}

impl<T> Pair<T> {
    /// Makes the values one after the other.
    pub(crate) fn try_each(mut make: impl FnMut(Contender) -> Result<T>) -> Result<Self> {
        Ok(Self { brigade: make(Contender::Brigade)?, hand_written: make(Contender::HandWritten)? })
    }

    pub(crate) fn get_mut(&mut self, contender: Contender) -> &mut T {
        match contender {
            Contender::Brigade => &mut self.brigade,
            Contender::HandWritten => &mut self.hand_written,
        }
    }

    pub(crate) fn map<U>(&self, change: impl Fn(&T) -> U) -> Pair<U> {
        Pair { brigade: change(&self.brigade), hand_written: change(&self.hand_written) }
    }
}
