//! Log lines that carry the trace id of their run, without credentials.

pub(crate) mod content_log;
pub(crate) mod escape;
pub(crate) mod line;
pub(crate) mod logging;
pub(crate) mod mask_event;
pub(crate) mod run_scope;
pub(crate) mod secrets;
