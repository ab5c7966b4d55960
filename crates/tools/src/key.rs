//! The key under which a call may be repeated.

use brigade_core::{Effect, Run, ToolSpec};

/// The idempotency key of a call, if the tool needs one and the run has a journal.
pub(crate) fn idempotency_key(spec: &ToolSpec, run: &Run) -> Option<String> {
    (spec.effect == Effect::Keyed).then(|| run.idempotency_key()).flatten()
}

#[cfg(test)]
pub(crate) mod fixture {
    use std::sync::{Arc, Mutex};

    use brigade_core::{Effect, Journal, JournalError, Run, StepRecord, async_trait};

    #[derive(Debug)]
    struct NothingKept;

    #[async_trait]
    impl Journal for NothingKept {
        fn records(&self) -> Vec<StepRecord> {
            Vec::new()
        }

        async fn write(&self, _: StepRecord) -> Result<(), JournalError> {
            Ok(())
        }
    }

    /// The run that a tool call gets if there is a journal.
    pub(crate) async fn run_of_a_call() -> Run {
        let found = Arc::new(Mutex::new(None));
        let run = Run::builder().journal(Arc::new(NothingKept)).build();
        let keep = Arc::clone(&found);
        let work = async |run| drop(keep.lock().unwrap().replace(run));
        run.step("1/tool:1", Effect::Keyed, &(), work).await.unwrap();
        found.lock().unwrap().take().unwrap()
    }
}
