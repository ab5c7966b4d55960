//! The trait of everything that works on tasks.

use std::{fmt, future::Future, sync::Arc};

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{Event, ModelError, ModelErrorKind, Outcome, Run, RunError, RunFailure, Task};

/// Works on tasks: an [`Agent`](crate::Agent), a group of agents, or an agent elsewhere.
///
/// A [`Worker`](crate::Worker) can be anything that implements this trait, for example a wrapper. See
/// [`impl_runnable`](crate::impl_runnable) for a group of agents.
///
/// ```
/// use std::sync::Arc;
///
/// use brigade_core::{Outcome, Run, RunError, Runnable, Task, async_trait};
///
/// /// Removes the white space around answers.
/// #[derive(Debug)]
/// struct Trimmed<R>(R);
///
/// #[async_trait]
/// impl<R: Runnable> Runnable for Trimmed<R> {
///     fn name(&self) -> &Arc<str> {
///         self.0.name()
///     }
///
///     fn purpose(&self) -> &str {
///         self.0.purpose()
///     }
///
///     async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
///         let mut outcome = self.0.run(run, task).await?;
///         outcome.text = outcome.text.trim().to_owned();
///         Ok(outcome)
///     }
/// }
/// ```
#[async_trait]
pub trait Runnable: fmt::Debug + Send + Sync + 'static {
    /// Its name, unique among its siblings.
    fn name(&self) -> &Arc<str>;

    /// Its purpose, in one sentence. It may be empty.
    fn purpose(&self) -> &str;

    /// Works on a task within `run`.
    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError>;
}

#[async_trait]
impl<R: Runnable + ?Sized> Runnable for Arc<R> {
    fn name(&self) -> &Arc<str> {
        (**self).name()
    }

    fn purpose(&self) -> &str {
        (**self).purpose()
    }

    async fn run(&self, run: &Run, task: Task) -> Result<Outcome, RunError> {
        (**self).run(run, task).await
    }
}

/// Reports the start of a run, and its end exactly once, also when the run's future is dropped.
pub(crate) struct RunReport {
    run: Run,
    started: Instant,
    has_ended: bool,
}

impl RunReport {
    /// Does `work` in the span of `run`, and completes its result with what the run has spent.
    pub(crate) async fn during<F>(run: Run, work: impl FnOnce(Run) -> F) -> Result<Outcome, RunError>
    where
        F: Future<Output = Result<Outcome, RunError>>,
    {
        let span = run.span().clone();
        let work = async {
            let mut report = Self::start(run.clone());
            let result = work(run.clone()).await;
            // A group may have taken an error of the journal for one of a member, and answered or failed because of it.
            let is_of_journal = matches!(&result, Err(error) if matches!(error.cause(), RunFailure::Journal(_)));
            let journal = if is_of_journal { Ok(()) } else { run.check_journal() };
            match journal.map_err(|error| RunError::before(&run, error)).and(result) {
                Ok(outcome) => Ok(report.ended(outcome)),
                Err(error) => Err(report.failed(error)),
            }
        };
        work.instrument(span).await
    }

    fn start(run: Run) -> Self {
        match run.resumed().filter(|_| run.parent().is_none()) {
            Some(resumed) => run.publish(&resumed),
            None => run.emit(&Event::RunStarted),
        }
        Self { run, started: Instant::now(), has_ended: false }
    }

    fn ended(&mut self, outcome: Outcome) -> Outcome {
        let outcome = outcome.of_run(&self.run, self.started.elapsed());
        let Outcome { stop, turns, usage, elapsed, .. } = outcome;
        self.emit_end(&Event::RunEnded { stop, turns, usage, cost: outcome.cost.total.cost(), elapsed });
        outcome
    }

    fn failed(&mut self, error: RunError) -> RunError {
        let error = error.of_run(&self.run);
        let (kind, elapsed) = (error.model_error().map(ModelError::kind), self.started.elapsed());
        self.emit_end(&match error.cause() {
            RunFailure::Journal(wait) if wait.is_wait() => {
                Event::RunWaiting { reason: wait.to_string().into(), elapsed }
            }
            _ => Event::RunFailed { kind, message: error.chain().into(), elapsed },
        });
        error
    }

    fn emit_end(&mut self, event: &Event) {
        self.has_ended = true;
        self.run.end_replay();
        self.run.emit(event);
    }
}

impl Drop for RunReport {
    fn drop(&mut self) {
        if !self.has_ended {
            let (kind, message) = if std::thread::panicking() {
                (None, "it failed with an internal error")
            } else {
                (Some(ModelErrorKind::Cancelled), "the run was dropped before its end")
            };
            self.emit_end(&Event::RunFailed { kind, message: message.into(), elapsed: self.started.elapsed() });
        }
    }
}
