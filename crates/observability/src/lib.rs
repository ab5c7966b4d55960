//! Brigade: observability.

mod escape;
mod line;
mod logging;
mod prices;
mod run_scope;

pub use line::Format;
pub use logging::{LogLayer, LogTarget, Logging, LoggingError, LoggingHandle};
pub use prices::{ModelFacts, PriceBook, PriceBookError};
