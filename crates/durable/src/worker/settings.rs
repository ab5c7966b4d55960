//! Settings of a worker.

use std::{sync::Arc, time::Duration};

use brigade_core::RunId;

/// Settings of a worker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// A name that no other worker has. By default a new one.
    pub name: Arc<str>,
    /// The most runs at the same time. 100 by default: a run mostly waits for models.
    pub parallel: usize,
    /// How long a claim lasts unless the worker renews it, which it does three times in this time. After a crash, other
    /// workers wait for its end. 15 seconds by default: long enough for a busy process to renew it, short enough for a
    /// client to wait.
    pub lease: Duration,
    /// How often the store is asked for runs that were submitted elsewhere. A second by default.
    pub poll: Duration,
    /// How often a run is claimed without completing a step before it is set aside. 5 by default.
    pub max_attempts: u32,
    /// Whether the text of a run is kept when it has ended. True by default. Otherwise its task, the outputs of its steps and
    /// its answer are erased; what it cost and how it ended are kept. A run that failed or was set aside keeps them in any
    /// case, because it can be resumed.
    pub keep_content: bool,
    /// Whether the outcome of a run is kept when the rest of its text is erased. False by default. A client that did not get
    /// the answer, because the process ended, can then ask for it again.
    pub keep_answer: bool,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            name: format!("worker-{}", RunId::new()).into(),
            parallel: 100,
            lease: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            max_attempts: 5,
            keep_content: true,
            keep_answer: false,
        }
    }
}

impl WorkerSettings {
    /// Sets the name.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the most runs at the same time.
    #[must_use]
    pub fn parallel(self, parallel: usize) -> Self {
        Self { parallel, ..self }
    }

    /// Sets how long a claim lasts unless the worker renews it.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Sets how often the store is asked for runs.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll, ..self }
    }

    /// Sets whether the text of a run is kept when it has ended.
    #[must_use]
    pub fn keep_content(self, keep_content: bool) -> Self {
        Self { keep_content, ..self }
    }

    /// Sets whether the outcome of a run is kept when the rest of its text is erased.
    #[must_use]
    pub fn keep_answer(self, keep_answer: bool) -> Self {
        Self { keep_answer, ..self }
    }

    /// Sets how often a run is claimed without completing a step before it is set aside.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }
}
