//! `cargo xtask ci`.

pub(crate) mod ci;
