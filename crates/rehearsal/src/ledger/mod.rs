//! A record of what really happened.

pub(crate) mod truth;
