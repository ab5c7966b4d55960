//! The SQLite back end: one file with sessions, notes, durable runs and the history of runs.

pub(crate) mod conditions;
pub(crate) mod database;
pub(crate) mod file;
pub(crate) mod header;
pub(crate) mod history;
pub(crate) mod notes;
pub(crate) mod readers;
pub(crate) mod responses;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod sessions;
pub(crate) mod source;
pub(crate) mod store_file;
pub(crate) mod vectors;
pub(crate) mod writer;
