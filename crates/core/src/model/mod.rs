//! Models: the traits of models that answer and that embed, their prices, and the wrapper that keeps to the budget.

pub(crate) mod attempt;
pub(crate) mod embedder;
pub(crate) mod metered;
pub(crate) mod model;
pub(crate) mod pricing;
