//! Sets logging up in one call.

use std::{fs::OpenOptions, io, io::IsTerminal, path::PathBuf, sync::Arc};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{self, FilterExt},
    fmt,
    fmt::{MakeWriter, writer::BoxMakeWriter},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use super::{
    line::Format,
    run_scope::{RunSpans, is_run_span},
};

/// What is logged, how and to where.
///
/// Every line written on behalf of a run carries the run's short trace id and the agent's path, whoever writes it.
/// A task that a tool spawns has left the run; [`tracing::Instrument::in_current_span`] keeps it there.
/// Lines show no prompts, answers or arguments; see [`ContentLog`](crate::ContentLog) for those who need them. What
/// looks like a credential is masked.
///
/// ```no_run
/// use brigade_observability::{Format, Logging};
///
/// let logging = Logging::new().format(Format::Json).level("info,my_tools=debug").init()?;
/// logging.set_level("debug")?; // later, while the program runs
/// # Ok::<(), brigade_observability::LoggingError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is logged before `init`"]
pub struct Logging {
    format: Format,
    level: String,
    variable: Option<String>,
    target: LogTarget,
}

/// Where lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard error output: coloured on a terminal unless the variable `NO_COLOR` is set (<https://no-color.org>).
    #[default]
    Stderr,
    /// The end of a file, which is made if it is missing.
    File(PathBuf),
}

/// Changes the level while the program runs. Cheap to clone.
#[derive(Clone)]
pub struct LoggingHandle {
    reload: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

/// A layer for a subscriber of one's own. Made by [`Logging::layer`].
pub type LogLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not understood.
    #[error("`{level}` is no log level; write a level such as `info`, or a list such as `info,my_crate=debug`")]
    Level {
        /// As it was given.
        level: String,
        /// What is wrong with it.
        #[source]
        source: filter::ParseError,
    },
    /// The log file cannot be written.
    #[error("the log file {} cannot be opened for writing", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody has set logging up before.
    #[error("logging is set up already; add `Logging::layer` to that subscriber instead of calling `init`")]
    AlreadySetUp,
    /// What was set up is gone.
    #[error("the level cannot be changed: the subscriber is gone")]
    Gone(#[source] reload::Error),
}

/// Levels of libraries, unless the level that is asked for names them. `async_openai` logs whole response bodies, hence
/// answers; the others tell about every connection and frame.
const QUIET: &str = "async_openai=off,h2=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,tower=warn";

impl Default for Logging {
    fn default() -> Self {
        Self::new()
    }
}

impl Logging {
    /// Text on the standard error output at INFO, which tells the whole story of a run in a handful of lines; the
    /// variable `RUST_LOG` overrides the level.
    pub fn new() -> Self {
        Self {
            format: Format::default(),
            level: "info".to_owned(),
            variable: Some("RUST_LOG".to_owned()),
            target: LogTarget::default(),
        }
    }

    /// How lines are written.
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The least level that is logged: a level, or a list with levels of single crates, in the form that
    /// [`EnvFilter`] reads.
    pub fn level(self, level: impl Into<String>) -> Self {
        Self { level: level.into(), ..self }
    }

    /// Whether the level can be read. Nothing is set up.
    pub fn check(&self) -> Result<(), LoggingError> {
        parse(&self.level).map(drop)
    }

    /// The environment variable that overrides the level where it is set; with `None` the environment is not read.
    pub fn variable(self, variable: Option<&str>) -> Self {
        Self { variable: variable.map(str::to_owned), ..self }
    }

    /// Where lines go.
    pub fn target(self, target: LogTarget) -> Self {
        Self { target, ..self }
    }

    /// Sets logging up for the whole process, including what libraries write with the `log` crate, and panics
    /// ([`log_panics`]).
    pub fn init(self) -> Result<LoggingHandle, LoggingError> {
        let (layer, handle) = self.layer::<Registry>()?;
        tracing_subscriber::registry().with(layer).try_init().map_err(|_| LoggingError::AlreadySetUp)?;
        log_panics();
        Ok(handle)
    }

    /// The same as a layer, for a program that has a subscriber of its own. That subscriber must not filter out the
    /// INFO spans of target `brigade_core::run` for everybody: they carry the trace id.
    pub fn layer<S>(self) -> Result<(LogLayer<S>, LoggingHandle), LoggingError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ansi = self.target == LogTarget::Stderr && is_coloured();
        let writer = self.open()?;
        self.layer_to(writer, ansi)
    }

    fn layer_to<S, W>(self, writer: W, ansi: bool) -> Result<(LogLayer<S>, LoggingHandle), LoggingError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (level, handle) = reload::Layer::new(parse(&self.effective_level())?);
        // The spans of runs pass at any level: a warning needs its trace id also where INFO is off.
        let run_spans = filter::filter_fn(is_run_span).with_max_level_hint(LevelFilter::INFO);
        let lines = fmt::layer().event_format(self.format).with_ansi(ansi).with_writer(writer);
        let layer = RunSpans.and_then(lines).with_filter(run_spans.or(level));
        let reload = Arc::new(move |level| handle.reload(level));
        Ok((Box::new(layer), LoggingHandle { reload }))
    }

    fn effective_level(&self) -> String {
        let overriding = self.variable.as_ref().and_then(|name| std::env::var(name).ok());
        overriding.filter(|level| !level.trim().is_empty()).unwrap_or_else(|| self.level.clone())
    }

    fn open(&self) -> Result<BoxMakeWriter, LoggingError> {
        match &self.target {
            LogTarget::Stderr => Ok(BoxMakeWriter::new(io::stderr)),
            LogTarget::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let file = file.map_err(|source| LoggingError::File { path: path.clone(), source })?;
                Ok(BoxMakeWriter::new(Arc::new(file)))
            }
        }
    }
}

impl LoggingHandle {
    /// Logs at another level from now on; the form is that of [`Logging::level`].
    pub fn set_level(&self, level: &str) -> Result<(), LoggingError> {
        (self.reload)(parse(level)?).map_err(LoggingError::Gone)
    }
}

impl std::fmt::Debug for LoggingHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggingHandle").finish_non_exhaustive()
    }
}

/// Writes panics to the log instead of the standard error output: one line each, with the trace id of the run that it
/// happened in. It replaces the panic hook of the process.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(target: "panic", "panicked at {place}: {message}");
    }));
}

/// What names a target later in the list replaces what was said about it before.
fn parse(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|source| LoggingError::Level { level: level.to_owned(), source })
}

fn is_coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests;
