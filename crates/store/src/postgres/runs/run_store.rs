//! Keeps durable runs in PostgreSQL.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{RunId, StepRecord};
use brigade_durable::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Fence,
    NewApproval, NewSignal, QueuedRun, Renewed, RunQuery, RunState, RunStore, RunStoreError, Signal, Signalled,
    StoredRun, Submitted, cost_of,
};
use uuid::Uuid;

use super::{
    approvals, commit, retention,
    rows::{self, COLUMNS, RunRow, json},
    signals,
};
use crate::{
    PostgresDatabase, StoreError,
    postgres::{
        session::Session,
        values::{get, signed, unsigned, us, values},
    },
};

/// Keeps runs that survive a crash in PostgreSQL, for any number of processes. Cheap to clone.
///
/// A run whose process died is claimed by another one when its lease has run out. Every call is one transaction; a commit
/// that goes on with its run is one statement. If the connection fails before a commit is answered, the error is
/// [`CommitError::Unavailable`], and the worker repeats the commit, which then changes nothing if it was written.
///
/// ```no_run
/// use brigade_core::{Agent, testing::{ScriptedModel, Turn}};
/// use brigade_durable::{CancellationToken, Durable};
/// use brigade_store::{PostgresDatabase, PostgresRunStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = ScriptedModel::new([Turn::text("It depends.")]);
/// let database = PostgresDatabase::open(&std::env::var("DATABASE_URL")?).await?;
/// let durable = Durable::new(PostgresRunStore::new(database)).agent("desk", Agent::new("desk", model));
/// // The same in each process.
/// durable.work(CancellationToken::new()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresRunStore(PostgresDatabase);

const SUBMIT: &str = "WITH new AS (
        INSERT INTO brigade.durable_runs (run, queue, account, key, digest, parent, submitted_us, status, due_us)
        VALUES ($1, $2, $3, $4, $5, $6, brigade.now_us(), 'ready', brigade.now_us()) ON CONFLICT DO NOTHING RETURNING id
    )
    INSERT INTO brigade.durable_inputs (id, input) SELECT id, $7 FROM new RETURNING id";

const RENEW: &str = "UPDATE brigade.durable_runs AS r SET due_us = brigade.now_us() + $4
    FROM unnest($1, $2, $3) AS fence (run, epoch, worker)
    WHERE r.run = fence.run AND r.status = 'running' AND r.epoch = fence.epoch AND r.worker = fence.worker
    RETURNING r.run, r.epoch, r.worker, r.signal_number";

impl PostgresRunStore {
    /// Keeps runs in `database`.
    pub fn new(database: PostgresDatabase) -> Self {
        Self(database)
    }

    /// Deletes runs that ended this long ago, with their journals, and erases the outcomes of runs that ended `keep_answers`
    /// ago. A run that has not ended is kept, however old it is. Call it now and then, in any of the processes.
    pub async fn sweep(&self, keep_runs: Duration, keep_answers: Duration) -> Result<(), StoreError> {
        retention::sweep(&self.0, keep_runs, keep_answers).await
    }

    async fn submit(&self, run: &QueuedRun) -> Result<Submitted, StoreError> {
        // PostgreSQL has no unsigned integers.
        let (id, digest) = (run.id.uuid(), run.digest.cast_signed());
        let (queue, account, key) = (&*run.queue, &*run.account, run.key.as_deref());
        let (parent, input) = (run.parent.map(RunId::uuid), run.input.get());
        loop {
            let new = self.0.query(SUBMIT, values![id, queue, account, key, digest, parent, input]).await?;
            if !new.is_empty() {
                return Ok(Submitted::New(run.id));
            }
            let known = "SELECT run, digest FROM brigade.durable_runs WHERE account = $1 AND key = $2";
            if let Some(row) = self.0.query(known, values![account, key]).await?.first() {
                let id = RunId::from(get::<Uuid>(row, "run")?);
                let is_same = get::<i64>(row, "digest")? == digest;
                return Ok(if is_same { Submitted::Same(id) } else { Submitted::Clash(id) });
            }
            if rows::id_of(&self.0, run.id).await?.is_some() {
                return Ok(Submitted::Same(run.id));
            }
            // The run that stood in the way was deleted meanwhile.
        }
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError> {
        let run = request.run.map(RunId::uuid);
        let only = if run.is_some() { "run = $5" } else { "$5::uuid IS NULL" };
        let claim = format!(
            "WITH due AS (
                 SELECT id AS due_id, due_us AS was_due_us FROM brigade.durable_runs
                 WHERE {only} AND due_us <= brigade.now_us() AND queue = ANY($1)
                 ORDER BY due_us, id LIMIT $2 FOR UPDATE SKIP LOCKED
             ), r AS (
                 UPDATE brigade.durable_runs SET status = 'running', waiting = NULL, epoch = epoch + 1,
                     attempt = attempt + 1, worker = $3, due_us = brigade.now_us() + $4
                 FROM due WHERE id = due_id RETURNING *
             )
             SELECT {COLUMNS}, brigade.now_us() AS claimed_us FROM r JOIN brigade.durable_inputs AS i ON i.id = r.id ORDER BY r.was_due_us, r.id"
        );
        let queues: Vec<&str> = request.queues.iter().map(|queue| &**queue).collect();
        let (limit, worker) = (i64::try_from(request.limit).unwrap_or(i64::MAX), &*request.worker);
        let claimed = self.0.query(&claim, values![queues, limit, worker, us(request.lease), run]).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        // One statement has one time, so it is not before the end of the waits of these runs.
        let claimed_at = claimed.first().map(|row| get(row, "claimed_us").and_then(rows::time)).transpose()?;
        let claimed = claimed.iter().map(rows::run_row).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = claimed.iter().map(|row| row.id).collect();
        // No other worker writes for these runs any more, so this needs no transaction.
        let (journals, signals) = tokio::join!(rows::journals(&self.0, ids.clone()), signals::open(&self.0, ids));
        let (mut journals, mut signals) = (journals?, signals?);
        let claims = claimed.into_iter().map(|RunRow { id, mut run }| {
            let journal = journals.remove(&id).unwrap_or_default();
            run.cost = cost_of(journal.iter());
            let fence = Fence::new(run.id, run.epoch, Arc::clone(&request.worker));
            let claim = Claim::new(run, fence, journal, signals.remove(&id).unwrap_or_default());
            claim.claimed_at(claimed_at.unwrap_or_default())
        });
        Ok(claims.collect())
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, StoreError> {
        let runs: Vec<_> = fences.iter().map(|fence| fence.run.uuid()).collect();
        let epochs: Vec<_> = fences.iter().map(|fence| signed(fence.epoch)).collect();
        let workers: Vec<_> = fences.iter().map(|fence| &*fence.worker).collect();
        let rows = self.0.query(RENEW, values![runs, epochs, workers, us(lease)]).await?;
        let held = rows.iter().map(|row| {
            let fence = Fence::new(
                RunId::from(get::<Uuid>(row, "run")?),
                unsigned(get(row, "epoch")?),
                get::<&str>(row, "worker")?,
            );
            Ok((fence, unsigned(get(row, "signal_number")?)))
        });
        let held = held.collect::<Result<Vec<_>, StoreError>>()?;
        let number = |fence| held.iter().find(|(known, _)| known == fence).map(|(_, number)| *number);
        Ok(fences.iter().map(|fence| number(fence).map_or(Renewed::Lost, Renewed::Held)).collect())
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, StoreError> {
        let session = self.0.session().await?;
        let resumed = resume_in(&session, run, removed).await;
        session.end(resumed).await
    }
}

async fn resume_in(session: &Session, run: RunId, removed: &[String]) -> Result<bool, StoreError> {
    let Some((id, status)) = rows::lock(session, run).await? else { return Ok(false) };
    if !matches!(status, RunState::Failed | RunState::SetAside | RunState::Waiting) {
        return Ok(false);
    }
    let cut = "DELETE FROM brigade.durable_steps WHERE run = $1 AND path = ANY($2)";
    session.execute(cut, values![id, removed.to_vec()]).await?;
    approvals::delete_at(session, id, removed).await?;
    let cost = json(&cost_of(rows::journal(session, id).await?.iter()))?;
    let update = "UPDATE brigade.durable_runs SET status = 'ready', due_us = brigade.now_us(), waiting = NULL,
         error = NULL, attempt = 0, ended_us = NULL, cost = $2 WHERE id = $1";
    session.execute(update, values![id, cost]).await?;
    Ok(true)
}

#[async_trait]
impl RunStore for PostgresRunStore {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        Ok(self.submit(&run).await?)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        Ok(self.claim(request).await?)
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        Ok(self.renew(fences, lease).await?)
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let answer = commit::write(&self.0, commit).await.map_err(RunStoreError::from)?;
        answer.into_result(commit.number)
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        Ok(signals::send(&self.0, run, &signal).await?)
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        let Some(id) = rows::id_of(&self.0, run).await? else { return Ok(Vec::new()) };
        Ok(signals::open(&self.0, vec![id]).await?.remove(&id).unwrap_or_default())
    }

    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError> {
        let stored = approvals::request(&self.0, &approval).await?;
        stored.ok_or_else(|| RunStoreError::new("the run of the approval is not stored"))
    }

    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError> {
        Ok(approvals::answer(&self.0, id, &answer).await?)
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError> {
        Ok(approvals::list(&self.0, query).await?)
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        Ok(self.resume(run, removed).await?)
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        Ok(rows::find(&self.0, run).await?)
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        let Some(id) = rows::id_of(&self.0, run).await? else { return Ok(Vec::new()) };
        Ok(rows::journals(&self.0, vec![id]).await?.remove(&id).unwrap_or_default())
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        Ok(rows::list(&self.0, filter).await?)
    }
}

#[cfg(test)]
mod tests;
