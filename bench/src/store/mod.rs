//! The store with a lot of data.

mod durable;
mod history;
mod notes;
mod sessions;
pub(crate) mod store;
