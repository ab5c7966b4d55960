//! Tools: the trait, functions as tools, the toolbox, argument schemas, and the built-in tools.

pub(crate) mod arguments;
pub(crate) mod execution;
pub(crate) mod function;
pub(crate) mod limits;
pub(crate) mod outcome;
pub(crate) mod schema;
pub(crate) mod tool;
pub(crate) mod toolbox;
