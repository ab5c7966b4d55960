//! Models: the trait, prices, cost limits and embeddings.

pub(crate) mod attempt;
pub(crate) mod embedder;
pub(crate) mod learned;
pub(crate) mod metered;
pub(crate) mod metered_embedder;
pub(crate) mod model;
pub(crate) mod pricing;
