//! Runs, their events, and what they cost.

pub(crate) mod booked;
pub(crate) mod books;
pub(crate) mod chronicle;
pub(crate) mod history;
pub(crate) mod runs;
pub(crate) mod spending;
pub(crate) mod usage;
