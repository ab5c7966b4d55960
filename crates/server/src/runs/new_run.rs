//! A run to start.

use std::sync::Arc;

use brigade_core::{Agent, Run, Task};
use brigade_durable::ClaimedRun;
use brigade_openai::ClientCalls;

use super::{event_log::EventLog, store::Store};

/// A run to start.
#[derive(Debug)]
pub struct NewRun {
    pub(super) run: Run,
    pub(super) agent: Agent,
    pub(super) task: Task,
    pub(super) owner: Arc<str>,
    pub(super) max_runs_of_owner: Option<usize>,
    pub(super) session: Option<Arc<str>>,
    pub(super) events: Option<Arc<EventLog>>,
    pub(super) store: Option<Store>,
    pub(super) claimed: Option<ClaimedRun>,
    pub(super) client_calls: Option<Arc<ClientCalls>>,
}

impl NewRun {
    /// A task for an agent. `run` carries its budget, observers and ids.
    pub fn new(run: Run, agent: Agent, task: impl Into<Task>) -> Self {
        Self {
            run,
            agent,
            task: task.into(),
            owner: "".into(),
            max_runs_of_owner: None,
            session: None,
            events: None,
            store: None,
            claimed: None,
            client_calls: None,
        }
    }

    /// The name of the key that started the run. Empty by default.
    #[must_use]
    pub fn owner(self, owner: Arc<str>) -> Self {
        Self { owner, ..self }
    }

    /// The maximum number of runs of the same owner at the same time. Unlimited by default.
    #[must_use]
    pub fn max_runs_of_owner(self, limit: Option<usize>) -> Self {
        Self { max_runs_of_owner: limit, ..self }
    }

    /// The client's session.
    #[must_use]
    pub fn session(self, session: Option<Arc<str>>) -> Self {
        Self { session, ..self }
    }

    /// A log that observes the run, for clients that follow it.
    #[must_use]
    pub fn events(self, events: Option<Arc<EventLog>>) -> Self {
        Self { events, ..self }
    }

    /// The claim of a durable run, which must have [prepared](ClaimedRun::prepare) the run.
    #[must_use]
    pub fn claimed(self, claimed: Option<ClaimedRun>) -> Self {
        Self { claimed, ..self }
    }

    /// The tools of the client, if it has brought some along.
    pub(crate) fn client_calls(self, client_calls: Option<Arc<ClientCalls>>) -> Self {
        Self { client_calls, ..self }
    }

    /// The store that records the run. Its cost is on disk before its end is reported.
    #[must_use]
    pub fn store(self, store: Option<Store>) -> Self {
        Self { store, ..self }
    }
}
