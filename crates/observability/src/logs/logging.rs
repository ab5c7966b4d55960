//! Sets up logging.

use std::{fs::OpenOptions, io, io::IsTerminal, path::PathBuf, sync::Arc, time::Duration};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{self, FilterExt},
    fmt,
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use super::{
    format::LogFormat,
    queue::LineQueue,
    run_scope::{RunSpans, is_run_span},
};

/// Sets up logging.
///
/// Every line written on behalf of a run carries the short trace id of the run and the agent's path, including lines of tools
/// and libraries. A task that a tool spawns is outside the run unless it is instrumented with
/// [`tracing::Instrument::in_current_span`]. Lines show no prompts, answers or arguments
/// ([`ContentLog`](crate::ContentLog) does), and credentials are masked.
///
/// A thread of its own writes the lines, in batches, so that logging never blocks a run. If the reader of the log stalls,
/// 4 MiB of lines wait for it; further ones are dropped, counted ([`LoggingHandle::dropped_lines`]), and reported in the
/// log. Keep the handle until the program ends: when it is dropped, it waits up to a second until all lines are written.
///
/// ```no_run
/// use brigade_observability::{LogFormat, Logging};
///
/// let logging = Logging::new().format(LogFormat::Json).level("info,my_tools=debug").init()?;
/// logging.set_level("debug")?; // later, while the program runs
/// # Ok::<(), brigade_observability::LoggingError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "`init` or `layer` sets up logging"]
pub struct Logging {
    format: LogFormat,
    level: String,
    variable: Option<String>,
    target: LogTarget,
}

/// The destination of log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTarget {
    /// The standard error output: coloured on a terminal unless the variable `NO_COLOR` is set (<https://no-color.org>).
    #[default]
    Stderr,
    /// A file. Lines are appended; the file is created if it is missing.
    File(PathBuf),
}

/// Changes the log level while the program runs, and flushes the log when it is dropped. Cheap to clone.
#[must_use = "dropping it at the end of the program writes the last lines"]
#[derive(Clone)]
pub struct LoggingHandle {
    reload: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
    queue: Option<LineQueue>,
}

/// How long the end of a program waits for a reader of the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A panic may be the end of the program, or that of a single tool, so it waits less.
const PANIC_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// A layer for the subscriber of a program, made by [`Logging::layer`].
pub type LogLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The level is not valid.
    #[error("`{level}` is not a log level; write a level such as `info`, or a list such as `info,my_crate=debug`")]
    Level {
        /// The level as given.
        level: String,
        /// The mistake.
        #[source]
        source: filter::ParseError,
    },
    /// The log file cannot be written.
    #[error("the log file {} cannot be opened for writing; check that its folder exists and is writable", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The thread that writes the lines could not be started.
    #[error("the thread that writes the log could not be started; check the limit of threads of this process")]
    Thread(#[source] io::Error),
    /// The process has a subscriber already.
    #[error("logging is set up already; add `Logging::layer` to that subscriber instead of calling `init`")]
    AlreadySetUp,
    /// The subscriber was dropped.
    #[error("the level cannot be changed, because the subscriber was dropped; set up logging again")]
    Gone(#[source] reload::Error),
}

/// Default levels of libraries. `async_openai` logs whole response bodies, which contain answers. The others log every
/// connection and frame.
const LIBRARY_LEVELS: &str = "async_openai=off,h2=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,tower=warn";

impl Default for Logging {
    fn default() -> Self {
        Self::new()
    }
}

impl Logging {
    /// Text on the standard error output at INFO, which shows the course of a run in a handful of lines. The variable
    /// `RUST_LOG` overrides the level.
    pub fn new() -> Self {
        Self {
            format: LogFormat::default(),
            level: "info".to_owned(),
            variable: Some("RUST_LOG".to_owned()),
            target: LogTarget::default(),
        }
    }

    /// Sets the format of the lines.
    pub fn format(self, format: LogFormat) -> Self {
        Self { format, ..self }
    }

    /// Sets the minimum level: a level, or a list with levels of single crates, as [`EnvFilter`] reads it.
    pub fn level(self, level: impl Into<String>) -> Self {
        Self { level: level.into(), ..self }
    }

    /// Checks that the level is valid, without setting anything up.
    pub fn check(&self) -> Result<(), LoggingError> {
        parse(&self.level).map(drop)
    }

    /// Sets the environment variable that overrides the level; with `None` the environment is not read.
    pub fn variable(self, variable: Option<&str>) -> Self {
        Self { variable: variable.map(str::to_owned), ..self }
    }

    /// Sets the destination of the lines.
    pub fn target(self, target: LogTarget) -> Self {
        Self { target, ..self }
    }

    /// Sets up logging for the whole process, including libraries that use the `log` crate, and logs panics
    /// ([`log_panics`]).
    pub fn init(self) -> Result<LoggingHandle, LoggingError> {
        let (layer, handle) = self.layer::<Registry>()?;
        tracing_subscriber::registry().with(layer).try_init().map_err(|_| LoggingError::AlreadySetUp)?;
        let queue = handle.queue.clone();
        on_panic(move || queue.iter().for_each(|queue| queue.flush(PANIC_FLUSH_TIMEOUT)));
        Ok(handle)
    }

    /// Returns logging as a layer for the subscriber of the program. That subscriber must not filter out the INFO spans of
    /// target `brigade_core::run`, which carry the trace id.
    pub fn layer<S>(self) -> Result<(LogLayer<S>, LoggingHandle), LoggingError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ansi = self.target == LogTarget::Stderr && is_coloured();
        let queue = self.open()?;
        let (layer, mut handle) = self.layer_to(queue.clone(), ansi)?;
        handle.queue = Some(queue);
        Ok((layer, handle))
    }

    fn layer_to<S, W>(self, writer: W, ansi: bool) -> Result<(LogLayer<S>, LoggingHandle), LoggingError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (level, handle) = reload::Layer::new(parse(&self.effective_level())?);
        // The spans of runs pass at any level: a warning needs its trace id even if INFO is off.
        let run_spans = filter::filter_fn(is_run_span).with_max_level_hint(LevelFilter::INFO);
        let lines = fmt::layer().event_format(self.format).with_ansi(ansi).with_writer(writer);
        let layer = RunSpans.and_then(lines).with_filter(run_spans.or(level));
        let reload = Arc::new(move |level| handle.reload(level));
        Ok((Box::new(layer), LoggingHandle { reload, queue: None }))
    }

    fn effective_level(&self) -> String {
        let override_level = self.variable.as_ref().and_then(|name| std::env::var(name).ok());
        override_level.filter(|level| !level.trim().is_empty()).unwrap_or_else(|| self.level.clone())
    }

    fn open(&self) -> Result<LineQueue, LoggingError> {
        let queue = match &self.target {
            LogTarget::Stderr => LineQueue::start(io::stderr(), self.format),
            LogTarget::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let file = file.map_err(|source| LoggingError::File { path: path.clone(), source })?;
                LineQueue::start(file, self.format)
            }
        };
        queue.map_err(LoggingError::Thread)
    }
}

impl LoggingHandle {
    /// Sets the minimum level, in the form of [`Logging::level`].
    pub fn set_level(&self, level: &str) -> Result<(), LoggingError> {
        (self.reload)(parse(level)?).map_err(LoggingError::Gone)
    }

    /// How many lines were dropped because the log was not read fast enough.
    pub fn dropped_lines(&self) -> u64 {
        self.queue.as_ref().map_or(0, LineQueue::dropped_lines)
    }

    /// Waits until all lines are written, for a second at most. Dropping the handle does the same.
    pub fn flush(&self) {
        self.queue.iter().for_each(|queue| queue.flush(FLUSH_TIMEOUT));
    }
}

impl Drop for LoggingHandle {
    fn drop(&mut self) {
        self.flush();
    }
}

impl std::fmt::Debug for LoggingHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggingHandle").finish_non_exhaustive()
    }
}

/// Logs panics, one line each, with the trace id of the run. Replaces the panic hook of the process, which writes to the
/// standard error output.
pub fn log_panics() {
    on_panic(|| {});
}

/// Logs panics, and calls `then` after each.
fn on_panic(then: impl Fn() + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic.location().map_or_else(|| "an unknown location".to_owned(), ToString::to_string);
        tracing::error!(target: "panic", "panicked at {location}: {message}");
        then();
    }));
}

/// Puts the level after the defaults, because a later entry of the list replaces earlier ones for the same target.
fn parse(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::builder()
        .parse(format!("{LIBRARY_LEVELS},{level}"))
        .map_err(|source| LoggingError::Level { level: level.to_owned(), source })
}

fn is_coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests;
