//! The context of one request, and its events.

pub(crate) mod builder;
pub(crate) mod counts;
pub(crate) mod derived;
pub(crate) mod digest;
pub(crate) mod event;
pub(crate) mod in_flight;
pub(crate) mod journal;
pub(crate) mod journal_scope;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod run;
pub(crate) mod shared_values;
pub(crate) mod step;
