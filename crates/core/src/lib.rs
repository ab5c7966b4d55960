//! Brigade: core.
