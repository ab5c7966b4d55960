//! Brigade: observability.

mod escape;
mod line;
mod logging;
mod run_scope;

pub use line::Format;
pub use logging::{LogLayer, LogTarget, Logging, LoggingError, LoggingHandle};
