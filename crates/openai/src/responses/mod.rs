//! Responses.

pub(crate) mod body;
pub(crate) mod input;
pub(crate) mod input_item;
pub(crate) mod input_items;
pub(crate) mod object;
pub(crate) mod output;
pub(crate) mod writer;
