//! Rules about the sources that are checked without compiling them.

pub(crate) mod direction;
mod faults;
pub(crate) mod finding;
mod folders;
mod manifest;
mod public_names;
pub(crate) mod published;
mod readme;
mod sizes;
pub(crate) mod tidy;
mod words;
