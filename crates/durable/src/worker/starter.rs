//! Starts claimed runs, in a way that the program can choose.

use std::sync::Arc;

use async_trait::async_trait;
use brigade_core::{Run, Task};
use tokio_util::sync::CancellationToken;

use super::{claimed_run::ClaimedRun, durable::Durable};

/// Starts the runs that [`Durable::work_with`] claims, for a program that has its own way to build and to limit runs.
///
/// ```
/// use std::sync::Arc;
///
/// use brigade_core::{Agent, Run, Task, async_trait};
/// use brigade_durable::{CancellationToken, ClaimedRun, RunStarter};
///
/// #[derive(Debug)]
/// struct OneAgent(Agent);
///
/// #[async_trait]
/// impl RunStarter for OneAgent {
///     fn queues(&self) -> Vec<Arc<str>> {
///         vec!["desk".into()]
///     }
///
///     fn room(&self) -> usize {
///         10
///     }
///
///     async fn start(&self, claimed: ClaimedRun) {
///         let run = claimed.prepare(Run::builder()).build();
///         let Some(task) = claimed.task() else { return };
///         claimed.carry_on(self.0.run_in(&run, Task::from(task)), &CancellationToken::new()).await;
///     }
/// }
/// ```
#[async_trait]
pub trait RunStarter: Send + Sync + 'static {
    /// The queues to claim from.
    fn queues(&self) -> Vec<Arc<str>>;

    /// How many more runs may be started now.
    fn room(&self) -> usize;

    /// Starts a run. It may return before the run ends.
    async fn start(&self, claimed: ClaimedRun);
}

/// Starts the agents that were added to a [`Durable`].
pub(super) struct AgentStarter {
    pub(super) durable: Durable,
    pub(super) stop: CancellationToken,
}

#[async_trait]
impl RunStarter for AgentStarter {
    fn queues(&self) -> Vec<Arc<str>> {
        self.durable.agents.keys().cloned().collect()
    }

    fn room(&self) -> usize {
        self.durable.settings.parallel
    }

    async fn start(&self, claimed: ClaimedRun) {
        let (Some(task), Some(agent)) = (claimed.task(), self.durable.agents.get(&claimed.run().queue).cloned()) else {
            let why = format!("there is no agent `{}` here, or the task cannot be read", claimed.run().queue);
            claimed.fail(why).await;
            return;
        };
        let mut builder = Run::builder();
        if let Some(prepare) = &self.durable.prepare {
            builder = prepare(claimed.run(), &task, builder);
        }
        let run = claimed.prepare(builder).build();
        claimed.carry_on(async { agent.run(&run, Task::from(task)).await }, &self.stop).await;
    }
}
