//! The PostgreSQL back end, for several processes that share one store.

pub(crate) mod address;
pub(crate) mod database;
pub(crate) mod failure;
pub(crate) mod migrations;
pub(crate) mod notes;
pub(crate) mod pool;
pub(crate) mod runs;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod tls;
pub(crate) mod values;
