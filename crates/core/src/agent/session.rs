//! The stored conversation that a task continues.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{ErrorChain, Interruption, Memory, MemoryError, Message, Run, Transcript};

/// The stored conversation that a task continues.
pub(crate) struct Session {
    memory: Arc<dyn Memory>,
    id: Arc<str>,
}

/// Why a session was not loaded.
pub(crate) enum LoadError {
    /// The run was stopped meanwhile.
    Interrupted(Interruption),
    /// The store failed.
    Memory(MemoryError),
}

/// The time limit for the store. Sessions are small and stores are near, so a store that takes longer has failed.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    /// The session called `id`, if there is an id and a memory to keep it in.
    pub(crate) fn new(memory: Option<&Arc<dyn Memory>>, id: Option<Arc<str>>) -> Option<Self> {
        Some(Self { memory: Arc::clone(memory?), id: id? })
    }

    /// Loads the conversation so far.
    pub(crate) async fn load(&self, run: &Run) -> Result<Transcript, LoadError> {
        match run.until_stopped(in_time(self.memory.load(&self.id))).await {
            Ok(Ok(messages)) => Ok(Transcript::repaired(messages)),
            Ok(Err(error)) => Err(LoadError::Memory(error)),
            Err(interruption) => Err(LoadError::Interrupted(interruption)),
        }
    }

    /// Stores new messages. If the store fails, the run is degraded and goes on, because its answer is already paid for.
    pub(crate) async fn append(&self, new: &[Message], run: &Run) {
        if new.is_empty() {
            return;
        }
        if let Err(error) = in_time(self.memory.append(&self.id, new)).await {
            run.report_degraded("session", ErrorChain(&error).to_string());
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, MemoryError>>) -> Result<T, MemoryError> {
    let timed_out =
        |_| MemoryError::new(format!("the store did not answer within {STORE_TIMEOUT:?}; check that it is reachable"));
    tokio::time::timeout(STORE_TIMEOUT, work).await.map_err(timed_out)?
}
