//! Brigade: providers.
