//! Brigade compared with a hand-written loop.

pub(crate) mod compare;
pub(crate) mod contender;
mod hand_written;
mod pair;
pub(crate) mod report;
mod wire;
mod with_brigade;
