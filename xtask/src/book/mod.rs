//! `cargo xtask docs`: the pages in `docs/`, as a web site.

pub(crate) mod book;
mod command_line;
mod configuration;
mod links;
mod sources;
