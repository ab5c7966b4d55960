//! Brigade: observability.

mod escape;
mod in_flight;
mod instruments;
mod line;
mod logging;
mod metrics;
mod names;
mod prices;
mod prometheus;
mod run_scope;
mod series;
mod vocabulary;

pub use self::metrics::{Metrics, MetricsConfig};
pub use line::Format;
pub use logging::{LogLayer, LogTarget, Logging, LoggingError, LoggingHandle};
pub use names::Convention;
pub use prices::{ModelFacts, PriceBook, PriceBookError};
pub use prometheus::{MetricsError, MetricsHandle};
