//! Calls of tools that the client runs: lists them, and takes their results.

use brigade_core::{RunId, StepRecord, StepState};
use tokio::time::Instant;

use super::{claimed_run::ClaimedRun, durable::Durable};
use crate::{
    ClaimRequest, ClientCall, ClientResult, CommitError, DurableError, RunState, RunStoreError, Signalled, StoredRun,
    store::client_call::{CallId, EXPIRY_STEP, ISSUE_STEP, IssuedCall},
};

/// The result of a client's call was not taken. A server begins a new run then, from the history that the client sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientCallError {
    /// There is no such call, or it belongs to another account, or the results are those of more than one run.
    #[error("there is no open call with the id `{0}`; send the ids that the run gave out")]
    Unknown(String),
    /// No result came in time, so the run went on without one, or it has ended.
    #[error("the call `{0}` has expired: its run went on without a result, or has ended")]
    Expired(String),
    /// Another result was sent before, and the run goes on with that one.
    #[error("another result was sent for the call `{0}` before; that one stays")]
    Answered(String),
    /// The store failed. Send the results again; they are taken once.
    #[error(transparent)]
    Store(#[from] RunStoreError),
    /// The results were taken, but the run could not be claimed. A worker carries it on.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The result cannot be stored.
    #[error("the result cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// A call, as far as a result for it is concerned.
enum CallState {
    /// Its step has no result yet.
    Open,
    /// Its step is done, or its run has ended.
    Closed,
    /// Its step is done without a result.
    Expired,
}

impl Durable {
    /// The open calls of a run that waits for its client; empty if the run does not wait for one. Their ids stay the same
    /// until they are answered.
    ///
    /// # Errors
    ///
    /// There is no such run, or the store failed.
    pub async fn open_calls(&self, run: RunId) -> Result<Vec<ClientCall>, DurableError> {
        let found = self.store.find(run).await?.ok_or(DurableError::UnknownRun(run))?;
        Ok(found.waiting.map(|waiting| waiting.calls).unwrap_or_default())
    }

    /// Takes the results of calls that the client made for `account`, all of one run, and returns this run. A worker carries it
    /// on. The same results again change nothing, so a client may repeat a request that was cut off: it gets the same run,
    /// also after the run has ended. If one id is refused by itself, no result is taken.
    ///
    /// # Errors
    ///
    /// See [`ClientCallError`].
    pub async fn answer_calls(&self, account: &str, results: Vec<ClientResult>) -> Result<RunId, ClientCallError> {
        let (run, is_new) = self.take_results(account, results).await?;
        if is_new {
            self.shared.wake();
        }
        Ok(run)
    }

    /// Like [`Durable::answer_calls`], and claims the run, for a program that starts it itself. Nothing is claimed if the
    /// results were taken before, or if the run is at work.
    ///
    /// # Errors
    ///
    /// See [`ClientCallError`].
    pub async fn answer_and_claim(
        &self,
        account: &str,
        results: Vec<ClientResult>,
    ) -> Result<(RunId, Option<ClaimedRun>), ClientCallError> {
        let _claiming = self.shared.claiming.lock().await;
        let (run, is_new) = self.take_results(account, results).await?;
        if !is_new {
            return Ok((run, None));
        }
        let Some(stored) = self.store.find(run).await? else { return Ok((run, None)) };
        let claimed = Instant::now();
        let request = ClaimRequest::new(self.settings.name.clone(), vec![stored.queue], 1, self.settings.lease);
        let claim = self.store.claim(&request.run(run)).await?.pop();
        let claimed = match claim {
            Some(claim) => ClaimedRun::open(self, claim, claimed).await?,
            None => None,
        };
        // A step of a run that is at work may wait in this process.
        self.shared.woken.notify_waiters();
        Ok((run, claimed))
    }

    /// Returns the run, and whether a result was new.
    async fn take_results(&self, account: &str, results: Vec<ClientResult>) -> Result<(RunId, bool), ClientCallError> {
        let unknown = |id: &str| ClientCallError::Unknown(id.to_owned());
        let first = results.first().map(|result| result.id.clone()).unwrap_or_default();
        let id = CallId::run(&first).ok_or_else(|| unknown(&first))?;
        if let Some(other) = results.iter().find(|result| CallId::run(&result.id) != Some(id)) {
            return Err(unknown(&other.id));
        }
        let run = self.store.find(id).await?.filter(|run| *run.account == *account).ok_or_else(|| unknown(&first))?;
        let journal = if is_erased(&run) { Vec::new() } else { self.store.journal(id).await? };
        let mut states = Vec::with_capacity(results.len());
        for result in results {
            match state(&run, &journal, &result.id) {
                Some(CallState::Expired) => return Err(ClientCallError::Expired(result.id)),
                Some(state) => states.push((result, state)),
                None => return Err(unknown(&result.id)),
            }
        }
        let mut is_new = false;
        for (result, state) in states {
            is_new |= self.take_result(&run, result, &state).await?;
        }
        Ok((id, is_new))
    }

    /// Whether the result is new.
    async fn take_result(
        &self,
        run: &StoredRun,
        result: ClientResult,
        state: &CallState,
    ) -> Result<bool, ClientCallError> {
        let signalled = self.store.signal(run.id, result.signal()?).await?;
        match (signalled, state) {
            (Signalled::Stored(_), CallState::Open) => Ok(true),
            (Signalled::Same(_), _) => Ok(false),
            // The results of an ended run are erased with its content, so any other result may be the same one.
            (Signalled::Clash(_), _) if is_erased(run) => Ok(false),
            (Signalled::Clash(_), _) => Err(ClientCallError::Answered(result.id)),
            // The signal that was stored has no effect: its step is done.
            (Signalled::Stored(_), CallState::Closed | CallState::Expired) | (Signalled::Ended, _) => {
                Err(ClientCallError::Expired(result.id))
            }
            (Signalled::Unknown, _) => Err(ClientCallError::Unknown(result.id)),
        }
    }
}

/// Whether the content of a run may be erased.
const fn is_erased(run: &StoredRun) -> bool {
    matches!(run.status, RunState::Finished | RunState::Cancelled)
}

/// Absent if the run has no call with this id.
fn state(run: &StoredRun, journal: &[StepRecord], id: &str) -> Option<CallState> {
    if is_erased(run) {
        return Some(CallState::Closed);
    }
    let is_issued = |record: &&StepRecord| {
        let output = record.output.as_ref().filter(|_| record.name == ISSUE_STEP);
        let issued = output.and_then(|output| serde_json::from_str::<IssuedCall>(output.get()).ok());
        issued.is_some_and(|issued| issued.id == id)
    };
    let record = journal.iter().find(is_issued)?;
    let call = record.path.rsplit_once('/').map_or("", |(call, _)| call);
    let is_done = |path: &str| journal.iter().any(|record| record.path == path && record.state == StepState::Done);
    Some(match is_done(call) {
        _ if is_done(&format!("{call}/{EXPIRY_STEP}")) => CallState::Expired,
        true => CallState::Closed,
        false => CallState::Open,
    })
}
