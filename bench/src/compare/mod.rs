//! Brigade compared with a hand-written loop.

pub(crate) mod compare;
pub(crate) mod contender;
mod each;
mod hand_written;
pub(crate) mod instructions;
pub(crate) mod report;
mod wire;
mod with_brigade;
