//! Tools: the trait, typed functions, argument checks and the toolbox that runs calls.

pub(crate) mod arguments;
pub(crate) mod blackboard_tools;
pub(crate) mod bus_tools;
pub(crate) mod done;
pub(crate) mod function;
pub(crate) mod plain;
pub(crate) mod schema;
pub(crate) mod tool;
pub(crate) mod toolbox;
