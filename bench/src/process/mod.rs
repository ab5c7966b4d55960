//! The processes of a measurement, and the resources that they use.

pub(crate) mod child;
pub(crate) mod provider;
pub(crate) mod resources;
