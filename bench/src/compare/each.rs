//! A value for each contender.

use anyhow::Result;
use serde::Serialize;

use crate::compare::contender::Contender;

/// A value for each contender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Each<T> {
    pub(crate) bare: T,
    pub(crate) wrappers: T,
    pub(crate) production: T,
    pub(crate) stored: T,
    pub(crate) hand_written: T,
}

impl<T> Each<T> {
    /// Makes the values one after the other.
    pub(crate) fn try_each(mut make: impl FnMut(Contender) -> Result<T>) -> Result<Self> {
        Ok(Self {
            bare: make(Contender::Bare)?,
            wrappers: make(Contender::Wrappers)?,
            production: make(Contender::Production)?,
            stored: make(Contender::Stored)?,
            hand_written: make(Contender::HandWritten)?,
        })
    }

    pub(crate) const fn get(&self, contender: Contender) -> &T {
        match contender {
            Contender::Bare => &self.bare,
            Contender::Wrappers => &self.wrappers,
            Contender::Production => &self.production,
            Contender::Stored => &self.stored,
            Contender::HandWritten => &self.hand_written,
        }
    }

    pub(crate) const fn get_mut(&mut self, contender: Contender) -> &mut T {
        match contender {
            Contender::Bare => &mut self.bare,
            Contender::Wrappers => &mut self.wrappers,
            Contender::Production => &mut self.production,
            Contender::Stored => &mut self.stored,
            Contender::HandWritten => &mut self.hand_written,
        }
    }

    pub(crate) fn map<U>(&self, change: impl Fn(&T) -> U) -> Each<U> {
        Each {
            bare: change(&self.bare),
            wrappers: change(&self.wrappers),
            production: change(&self.production),
            stored: change(&self.stored),
            hand_written: change(&self.hand_written),
        }
    }
}
