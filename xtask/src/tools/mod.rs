//! Programs that the steps run, and how they are installed.

pub(crate) mod cargo;
pub(crate) mod postgres;
pub(crate) mod programs;
pub(crate) mod python;
pub(crate) mod time_limit;
