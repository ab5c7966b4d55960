//! Prices of models, and what a call costs.

pub(crate) mod bill;
pub(crate) mod price_book;
pub(crate) mod searches;
pub(crate) mod table;
