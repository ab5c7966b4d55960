//! Agents as the configuration describes them.

pub(crate) mod recall;
pub(crate) mod team;
pub(crate) mod tools;
