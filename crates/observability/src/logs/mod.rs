//! Log lines that carry the trace id of their run, without credentials.

pub(crate) mod content_log;
pub(crate) mod escape;
pub(crate) mod format;
pub(crate) mod logging;
pub(crate) mod mask;
pub(crate) mod mask_event;
pub(crate) mod queue;
pub(crate) mod run_scope;
