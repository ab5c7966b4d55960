//! Brigade: resilience.
