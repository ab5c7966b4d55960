//! Brigade: observability.
