//! What can be given a task: agents and everything that is made of agents.

use std::{fmt, future::Future, sync::Arc};

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{Event, ModelError, ModelErrorKind, Outcome, Run, RunError, agent::task::Task};

/// Something that can be given a task: an agent, a supervisor, a pipeline, a handoff, an agent elsewhere on the bus.
#[async_trait]
pub trait Runnable: fmt::Debug + Send + Sync + 'static {
    /// Its name, unique among its siblings.
    fn name(&self) -> &Arc<str>;

    /// What it is for, in a sentence; may be empty.
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

/// Does `work` as the run of the agent, or group of agents, called `name`: within the run's span, and telling observers
/// how it began and how it ended. It is said to have ended also when it is dropped.
pub(crate) async fn carry_out<F>(run: &Run, name: &str, work: impl FnOnce(Run) -> F) -> Result<Outcome, RunError>
where
    F: Future<Output = Result<Outcome, RunError>>,
{
    let run = run.for_agent(name);
    let span = run.span().clone();
    let work = async {
        let mut clock = Clock::start(run.clone());
        match work(run).await {
            Ok(outcome) => Ok(clock.finished(outcome)),
            Err(error) => Err(clock.failed(error)),
        }
    };
    work.instrument(span).await
}

/// Sees to it that every run that began is said to have ended.
struct Clock {
    run: Run,
    started: Instant,
    ended: bool,
}

impl Clock {
    fn start(run: Run) -> Self {
        run.emit(&Event::RunStarted);
        Self { run, started: Instant::now(), ended: false }
    }

    fn finished(&mut self, outcome: Outcome) -> Outcome {
        let outcome = outcome.of_run(&self.run, self.started.elapsed());
        let Outcome { stop, turns, usage, elapsed, .. } = outcome;
        self.end(&Event::RunEnded { stop, turns, usage, cost: outcome.cost.total.cost(), elapsed });
        outcome
    }

    fn failed(&mut self, error: RunError) -> RunError {
        let error = error.of_run(&self.run);
        let kind = error.model_error().map(ModelError::kind);
        self.end(&Event::RunFailed { kind, message: error.chain().into(), elapsed: self.started.elapsed() });
        error
    }

    fn end(&mut self, event: &Event) {
        self.ended = true;
        self.run.emit(event);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if !self.ended {
            let (kind, message) = if std::thread::panicking() {
                (None, "it failed with an internal error")
            } else {
                (Some(ModelErrorKind::Cancelled), "the run was dropped before its end")
            };
            self.end(&Event::RunFailed { kind, message: message.into(), elapsed: self.started.elapsed() });
        }
    }
}
