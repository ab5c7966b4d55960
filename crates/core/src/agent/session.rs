//! The stored conversation that a task continues.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    Effect, ErrorChain, Interruption, JournalError, Memory, MemoryError, Message, Run, Transcript,
    run::{digest, step::Step},
};

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
    /// The journal of the run failed.
    Journal(JournalError),
}

/// The time limit for the store. Sessions are small and stores are near, so a store that takes longer has failed.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    /// The session called `id`, if there is an id and a memory to keep it in.
    pub(crate) fn new(memory: Option<&Arc<dyn Memory>>, id: Option<Arc<str>>) -> Option<Self> {
        Some(Self { memory: Arc::clone(memory?), id: id? })
    }

    pub(crate) async fn load(&self, run: &Run) -> Result<Transcript, LoadError> {
        let digest = || digest::of([&*self.id]);
        let step = run.open_step::<Vec<Message>>(format_args!("0/session"), "session", Effect::Repeatable, digest);
        let step = match step.map_err(LoadError::Journal)? {
            Step::Recorded(messages) => return Ok(Transcript::repaired(messages)),
            Step::New(step) => step,
        };
        match run.until_stopped(in_time(self.memory.load(&self.id))).await {
            Ok(Ok(messages)) => {
                step.done(&messages).await.map_err(LoadError::Journal)?;
                Ok(Transcript::repaired(messages))
            }
            Ok(Err(error)) => Err(LoadError::Memory(error)),
            Err(interruption) => Err(LoadError::Interrupted(interruption)),
        }
    }

    /// Stores new messages. If the store fails, the run is degraded and goes on, because its answer is already paid for.
    pub(crate) async fn append(&self, new: &[Message], run: &Run) {
        let digest = || digest::of([&*self.id]);
        let step = run.open_step::<()>(format_args!("end/session"), "session", Effect::Repeatable, digest);
        let Ok(Step::New(step)) = step else { return };
        if new.is_empty() || step.run.note_began(None).await.is_err() {
            return;
        }
        if step.is_repeated && self.ends_with(new).await {
            tracing::debug!("the messages were stored before the run was resumed");
        } else if let Err(error) = in_time(self.memory.append(&self.id, new)).await {
            step.run.report_degraded("session", ErrorChain(&error).to_string());
        }
        // The run reports an error of its journal at its end.
        let _ = step.done(&()).await;
    }

    /// Whether the last messages of the session are these.
    async fn ends_with(&self, new: &[Message]) -> bool {
        in_time(self.memory.load(&self.id)).await.is_ok_and(|stored| stored.ends_with(new))
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, MemoryError>>) -> Result<T, MemoryError> {
    let timed_out =
        |_| MemoryError::new(format!("the store did not answer within {STORE_TIMEOUT:?}; check that it is reachable"));
    tokio::time::timeout(STORE_TIMEOUT, work).await.map_err(timed_out)?
}
