//! The options that an agent and every group of agents share.

use std::{future::Future, sync::Arc};

use crate::{
    Budget, Memory, Observer, Outcome, Run, RunBuilder, RunError, RunFailure, Task, Transcript,
    agent::run_end::RunEnd,
    agent::runnable::RunReport,
    agent::session::{LoadError, Session},
};

/// The options that an [`Agent`](crate::Agent) and every group of agents share. [`impl_runnable`] adds their setters.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) name: Arc<str>,
    pub(crate) purpose: String,
    pub(crate) budget: Budget,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) memory: Option<Arc<dyn Memory>>,
}

impl RunOptions {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self { name, purpose: String::new(), budget: Budget::unlimited(), observers: Vec::new(), memory: None }
    }

    /// A run of its own, with its observers, and with its limit of model calls instead of the default one.
    pub(crate) fn new_run(&self) -> Run {
        let budget = Budget { model_calls: self.budget.model_calls, ..Budget::unlimited() };
        let builder = Run::builder().agent(Arc::clone(&self.name)).budget(budget);
        self.observers.iter().cloned().fold(builder, RunBuilder::observer).build()
    }

    /// Does `work` within `run` and the budget, and reports the start and the end to the observers.
    pub(crate) async fn carry_out<F>(&self, run: &Run, work: impl FnOnce(Run) -> F) -> Result<Outcome, RunError>
    where
        F: Future<Output = Result<Outcome, RunError>>,
    {
        RunReport::during(run.for_agent(&self.name), |run| work(run.limited_to(&self.budget))).await
    }

    /// Does the `work` of a group within the session: loads the history before it, and stores the new messages after it.
    ///
    /// The group's members get the history but not the session, so that no message is stored twice.
    pub(crate) async fn in_session<F>(
        &self,
        run: Run,
        mut task: Task,
        work: impl FnOnce(Run, Task) -> F,
    ) -> Result<Outcome, RunError>
    where
        F: Future<Output = Result<Outcome, RunError>>,
    {
        let Some(session) = Session::new(self.memory.as_ref(), task.session.clone()) else {
            return work(run, task).await;
        };
        task.session = None;
        if task.history.is_empty() {
            task.history = match session.load(&run).await {
                Ok(history) => history,
                Err(LoadError::Memory(error)) => return Err(RunError::before(&run, RunFailure::Memory(error))),
                Err(LoadError::Interrupted(interruption)) => {
                    let end = RunEnd::interrupted(interruption, &run);
                    let mut outcome = Outcome::new(run.trace(), end.stop, String::new(), Transcript::new());
                    outcome.notice = end.notice;
                    return Ok(outcome);
                }
            };
        }
        let outcome = work(run.clone(), task).await?;
        session.append(outcome.new_messages(), &run).await;
        Ok(outcome)
    }
}

/// Implements [`Runnable`](crate::Runnable), and the setters of [`RunOptions`], for a type that has a field `options`
/// and a method `work(&self, Run, Task)`.
macro_rules! impl_runnable {
    ($type:ty) => {
        impl $type {
            /// Sets its purpose, in one sentence. A supervisor's model reads it when it chooses a worker.
            #[must_use]
            pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
                self.options.purpose = purpose.into();
                self
            }

            /// Sets what one task may spend, workers and members included. It holds as part of a larger run too.
            #[must_use]
            pub fn budget(mut self, budget: $crate::Budget) -> Self {
                self.options.budget = budget;
                self
            }

            /// Adds an observer to the runs that `run` starts. Runs given to `run_in` have observers of their own.
            #[must_use]
            pub fn observer(mut self, observer: std::sync::Arc<dyn $crate::Observer>) -> Self {
                self.options.observers.push(observer);
                self
            }

            /// Sets where the conversations of its sessions are stored.
            #[must_use]
            pub fn memory(mut self, memory: impl $crate::Memory) -> Self {
                self.options.memory = Some(std::sync::Arc::new(memory));
                self
            }

            /// Returns its name.
            pub fn name(&self) -> &std::sync::Arc<str> {
                &self.options.name
            }

            /// Works on a task in a run of its own.
            pub async fn run(&self, task: impl Into<$crate::Task>) -> Result<$crate::Outcome, $crate::RunError> {
                $crate::Runnable::run(self, &self.options.new_run(), task.into()).await
            }

            /// Works on a task within `run`: with its ids, deadline, ledger and observers.
            pub async fn run_in(
                &self,
                run: &$crate::Run,
                task: impl Into<$crate::Task>,
            ) -> Result<$crate::Outcome, $crate::RunError> {
                $crate::Runnable::run(self, run, task.into()).await
            }
        }

        #[async_trait::async_trait]
        impl $crate::Runnable for $type {
            fn name(&self) -> &std::sync::Arc<str> {
                &self.options.name
            }

            fn purpose(&self) -> &str {
                &self.options.purpose
            }

            async fn run(&self, run: &$crate::Run, task: $crate::Task) -> Result<$crate::Outcome, $crate::RunError> {
                self.options.carry_out(run, |run| self.work(run, task)).await
            }
        }
    };
}

pub(crate) use impl_runnable;
