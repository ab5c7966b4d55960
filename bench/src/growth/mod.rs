//! How the cost of a run grows with what it holds.

mod cases;
pub(crate) mod growth;
mod model;
