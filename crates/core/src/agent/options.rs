//! The options that an agent and every group of agents share.

use std::{future::Future, sync::Arc};

use crate::{
    Budget, Memory, Observer, Outcome, Run, RunError, RunFailure, Task, Transcript,
    agent::run_end::RunEnd,
    agent::runnable::RunReport,
    agent::session::{LoadError, Session},
};

/// The options that an [`Agent`](crate::Agent) and every group of agents share. [`impl_runnable`](crate::impl_runnable)
/// adds their setters, which document them.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the setters document them")]
pub struct RunOptions {
    pub name: Arc<str>,
    pub purpose: String,
    pub budget: Budget,
    pub observers: Vec<Arc<dyn Observer>>,
    pub memory: Option<Arc<dyn Memory>>,
}

impl RunOptions {
    /// Options with a name only.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            purpose: String::new(),
            budget: Budget::unlimited(),
            observers: Vec::new(),
            memory: None,
        }
    }

    /// A run of its own, with its limit of model calls instead of the default one.
    pub fn new_run(&self) -> Run {
        let budget = Budget { model_calls: self.budget.model_calls, ..Budget::unlimited() };
        Run::builder().agent(Arc::clone(&self.name)).budget(budget).build()
    }

    /// Does `work` within `run` and the budget, and reports everything to the observers.
    pub async fn carry_out<F>(&self, run: &Run, work: impl FnOnce(Run) -> F) -> Result<Outcome, RunError>
    where
        F: Future<Output = Result<Outcome, RunError>>,
    {
        let run =
            self.observers.iter().cloned().fold(run.for_agent(&self.name), |run, observer| run.observed_by(observer));
        RunReport::during(run, |run| work(run.limited_to(&self.budget))).await
    }

    /// Does the `work` of a group within the session: loads the history before it, and stores the new messages after it.
    ///
    /// The group's members get the history but not the session, so that no message is stored twice.
    pub async fn in_session<F>(
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
                Err(LoadError::Journal(error)) => return Err(RunError::before(&run, error)),
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
        run.check_journal().map_err(|error| RunError::before(&run, error))?;
        Ok(outcome)
    }
}

/// Implements [`Runnable`](crate::Runnable) and the setters of [`RunOptions`](crate::RunOptions) for a group of agents: a
/// type that has a field `options` and an asynchronous method `work(&self, Run, Task)`.
///
/// ```
/// use brigade_core::{Agent, Budget, Outcome, Run, RunError, RunOptions, Runnable, Task, impl_runnable};
/// # use brigade_core::testing::{ScriptedModel, Turn};
///
/// /// Two agents; the second one is asked if the first fails.
/// #[derive(Debug, Clone)]
/// struct Understudy {
///     options: RunOptions,
///     agents: [Agent; 2],
/// }
///
/// impl Understudy {
///     async fn work(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
///         self.options.in_session(run, task, |run, task| self.ask(run, task)).await
///     }
///
///     async fn ask(&self, run: Run, task: Task) -> Result<Outcome, RunError> {
///         let [first, second] = &self.agents;
///         let child = |agent: &Agent| {
///             run.child(agent.name(), Budget::unlimited()).map_err(|error| RunError::before(&run, error))
///         };
///         match Runnable::run(first, &child(first)?, task.clone()).await {
///             Ok(outcome) => Ok(outcome),
///             Err(_) => Runnable::run(second, &child(second)?, task).await,
///         }
///     }
/// }
///
/// impl_runnable!(Understudy);
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), RunError> {
/// # let agents = [("ann", Turn::fails(brigade_core::ModelErrorKind::Auth)), ("bob", Turn::text("Here."))]
/// #     .map(|(name, turn)| Agent::new(name, ScriptedModel::new([turn])));
/// let actors = Understudy { options: RunOptions::new("actors"), agents }.purpose("Plays one role.");
/// assert_eq!(actors.run("Who is there?").await?.text, "Here.");
/// # Ok(())
/// # }
/// ```
#[macro_export]
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

            /// Adds an observer of its work, and of that of its workers and members, in any run.
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

        #[$crate::async_trait]
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
