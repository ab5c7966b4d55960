//! Plays a scenario in virtual time.

pub(crate) mod play;
pub(crate) mod virtual_time;
