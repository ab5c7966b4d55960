//! Money: amounts, prices, budgets and the ledger that enforces them.

pub(crate) mod account;
pub(crate) mod balance;
pub(crate) mod budget;
pub(crate) mod cost;
pub(crate) mod estimate;
pub(crate) mod items;
pub(crate) mod ledger;
