//! Parts of a call, measured one by one.

mod codec;
pub(crate) mod micro;
mod overhead;
