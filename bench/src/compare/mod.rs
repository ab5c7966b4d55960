//! Brigade compared with a hand-written loop.

mod building;
mod callgrind;
pub(crate) mod compare;
pub(crate) mod contender;
pub(crate) mod crowd;
mod each;
mod hand_written;
pub(crate) mod instructions;
pub(crate) mod report;
mod wire;
mod with_brigade;
