//! Responses that clients may read and continue.

pub(crate) mod responses;
