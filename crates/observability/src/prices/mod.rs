//! Prices of models, and what a call costs.

pub(crate) mod cost;
pub(crate) mod price_book;
pub(crate) mod table;
pub(crate) mod unseen;
pub(crate) mod web_searches;
