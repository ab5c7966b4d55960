//! The project's source files, as the rules read them.

pub(crate) mod files;
pub(crate) mod modules;
pub(crate) mod prose;
pub(crate) mod scan;
pub(crate) mod workspace;
