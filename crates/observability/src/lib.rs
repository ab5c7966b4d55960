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
mod record;
mod recorder;
mod run_scope;
mod series;
mod trace;
mod vocabulary;

pub use self::metrics::{Metrics, MetricsConfig};
pub use line::Format;
pub use logging::{LogLayer, LogTarget, Logging, LoggingError, LoggingHandle, log_panics};
pub use names::Convention;
pub use prices::{ModelFacts, PriceBook, PriceBookError};
pub use prometheus::{MetricsError, MetricsHandle};
pub use record::{Entry, Record, Spent};
pub use recorder::Recorder;
pub use trace::{TraceError, Tree};
