//! Brigade: rehearsal.
