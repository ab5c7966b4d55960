//! Keeps durable runs in the database.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use brigade_core::{RunId, StepRecord};
use brigade_durable::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, Claim, ClaimRequest, Commit, CommitError, Committed, Fence,
    NewApproval, NewSignal, QueuedRun, Renewed, RunQuery, RunState, RunStore, RunStoreError, Signal, Signalled,
    StoredRun, Submitted, cost_of,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    approvals,
    commit::EncodedCommit,
    rows::{self, json, us_from_now},
    signals,
};
use crate::{Database, StoreError, sqlite::database::now_us};

/// Keeps runs that survive a crash. Cheap to clone.
///
/// A call returns when its change is on disk. One commit of the database serves all calls that wait, also those of the
/// history and of sessions.
///
/// Only one process writes the file. When it is opened, runs that were at work in a process before are free at once, without
/// waiting for their leases. The history deletes runs that have ended after
/// [`HistorySettings::keep_runs`](crate::HistorySettings::keep_runs), with their journals, and their outcomes after
/// [`HistorySettings::keep_answers`](crate::HistorySettings::keep_answers). Others are never deleted. What a commit erases is gone from the file, and after [`Database::erase`] also from its log.
///
/// ```
/// use brigade_core::{Agent, testing::{ScriptedModel, Turn}};
/// use brigade_durable::{CancellationToken, Durable, RunState, Submission};
/// use brigade_store::{Database, SqliteRunStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("brigade.db");
/// # let model = ScriptedModel::new([Turn::text("It depends.")]);
/// let store = SqliteRunStore::new(Database::open(path)?);
/// let durable = Durable::new(store).agent("desk", Agent::new("desk", model));
/// let stop = CancellationToken::new();
/// let worker = tokio::spawn({
///     let (durable, stop) = (durable.clone(), stop.clone());
///     async move { durable.work(stop).await }
/// });
///
/// let submitted = durable.submit(Submission::new("desk", "Is Kafka faster than SQS?")).await?;
/// assert_eq!(durable.wait(submitted.id()).await?.status, RunState::Finished);
/// stop.cancel();
/// worker.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteRunStore(Database);

impl SqliteRunStore {
    /// Keeps runs in `database`.
    pub fn new(database: Database) -> Self {
        Self(database)
    }
}

#[async_trait]
impl RunStore for SqliteRunStore {
    async fn submit(&self, run: QueuedRun) -> Result<Submitted, RunStoreError> {
        // If another program locks the file, the caller has given up before the write, and must not be surprised by a run.
        let caller = Arc::new(());
        let is_there = Arc::downgrade(&caller);
        let submitted = self.0.probe(move |connection| match is_there.upgrade() {
            Some(_) => submit(connection, &run),
            None => Ok(Submitted::Clash(run.id)),
        });
        let submitted = submitted.await?;
        drop(caller);
        Ok(submitted)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claim>, RunStoreError> {
        // If another program locks the file, the caller has given up before the write, and the runs would wait for a lease.
        let caller = Arc::new(());
        let (is_there, request) = (Arc::downgrade(&caller), request.clone());
        let claims = self.0.probe(move |connection| match is_there.upgrade() {
            Some(_) => claim(connection, &request),
            None => Ok(Vec::new()),
        });
        let claims = claims.await?;
        drop(caller);
        Ok(claims)
    }

    async fn renew(&self, fences: &[Fence], lease: Duration) -> Result<Vec<Renewed>, RunStoreError> {
        let fences = fences.to_vec();
        let renew = move |connection: &Connection| fences.iter().map(|fence| renew(connection, fence, lease)).collect();
        Ok(self.0.write(renew).await?)
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let number = commit.number;
        let encoded = EncodedCommit::new(commit).map_err(RunStoreError::from)?;
        let answer = self.0.write(move |connection| encoded.write(connection)).await.map_err(RunStoreError::from)?;
        if commit.erase {
            self.0.note_deleted();
        }
        answer.into_result(number)
    }

    async fn signal(&self, run: RunId, signal: NewSignal) -> Result<Signalled, RunStoreError> {
        Ok(self.0.write(move |connection| signals::send(connection, run, &signal)).await?)
    }

    async fn signals(&self, run: RunId) -> Result<Vec<Signal>, RunStoreError> {
        let open = move |connection: &Connection| match rows::id_of(connection, run)? {
            Some(id) => signals::open(connection, id),
            None => Ok(Vec::new()),
        };
        Ok(self.0.read(open).await?)
    }

    async fn request_approval(&self, approval: NewApproval) -> Result<Approval, RunStoreError> {
        let stored = self.0.write(move |connection| approvals::request(connection, &approval)).await?;
        stored.ok_or_else(|| RunStoreError::new("the run of the approval is not stored"))
    }

    async fn answer_approval(&self, id: &str, answer: ApprovalAnswer) -> Result<Answered, RunStoreError> {
        let id = id.to_owned();
        Ok(self.0.write(move |connection| approvals::answer(connection, &id, &answer)).await?)
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<Approval>, RunStoreError> {
        let query = query.clone();
        Ok(self.0.read(move |connection| approvals::list(connection, &query)).await?)
    }

    async fn resume(&self, run: RunId, removed: &[String]) -> Result<bool, RunStoreError> {
        let removed = removed.to_vec();
        Ok(self.0.write(move |connection| resume(connection, run, &removed)).await?)
    }

    async fn find(&self, run: RunId) -> Result<Option<StoredRun>, RunStoreError> {
        Ok(self.0.read(move |connection| rows::find(connection, run)).await?)
    }

    async fn journal(&self, run: RunId) -> Result<Vec<StepRecord>, RunStoreError> {
        let journal = move |connection: &Connection| match rows::id_of(connection, run)? {
            Some(id) => rows::journal(connection, id),
            None => Ok(Vec::new()),
        };
        Ok(self.0.read(journal).await?)
    }

    async fn list(&self, filter: &RunQuery) -> Result<Vec<StoredRun>, RunStoreError> {
        let filter = filter.clone();
        Ok(self.0.read(move |connection| rows::list(connection, &filter)).await?)
    }
}

fn submit(connection: &Connection, run: &QueuedRun) -> Result<Submitted, StoreError> {
    // SQLite has no unsigned integers with 64 bits.
    let digest = run.digest.cast_signed();
    let mut with_key =
        connection.prepare_cached("SELECT run, digest FROM durable_runs WHERE account = ?1 AND key = ?2")?;
    let mut known = with_key.query(params![run.account, run.key])?;
    if let Some(row) = known.next()? {
        let id = RunId::from(Uuid::from_bytes(row.get(0)?));
        return Ok(if row.get::<_, i64>(1)? == digest { Submitted::Same(id) } else { Submitted::Clash(id) });
    }
    if rows::id_of(connection, run.id)?.is_some() {
        return Ok(Submitted::Same(run.id));
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO durable_runs (run, queue, account, key, digest, parent, submitted_us, status, due_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?7)",
    )?;
    let (run_id, parent) = (run.id.uuid().into_bytes(), run.parent.map(|parent| parent.uuid().into_bytes()));
    let status = RunState::Ready.name();
    let id = insert.insert(params![run_id, run.queue, run.account, run.key, digest, parent, now_us(), status])?;
    let input = "INSERT INTO durable_inputs (id, input) VALUES (?1, ?2)";
    connection.prepare_cached(input)?.execute(params![id, run.input.get()])?;
    Ok(Submitted::New(run.id))
}

fn claim(connection: &Connection, request: &ClaimRequest) -> Result<Vec<Claim>, StoreError> {
    // Two statements, because one would read all runs that are due to find one by its id.
    let only = if request.run.is_some() { "run = ?4" } else { "?4 IS NULL" };
    let mut due = connection.prepare_cached(&format!(
        "SELECT id FROM durable_runs WHERE {only} AND due_us <= ?1 AND queue IN (SELECT value FROM json_each(?2))
         ORDER BY due_us, id LIMIT ?3"
    ))?;
    let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
    let values = params![now_us(), json(&request.queues)?, limit, request.run.map(|run| run.uuid().into_bytes())];
    let ids = due.query_map(values, |row| row.get::<_, i64>(0))?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    // After the runs were found to be due, so that it is not before the end of their waits.
    let claimed_at = Timestamp::from_microsecond(now_us()).unwrap_or_default();
    let mut update = connection.prepare_cached(
        "UPDATE durable_runs SET status = 'running', waiting = NULL, epoch = epoch + 1, attempt = attempt + 1, worker = ?2,
         due_us = ?3 WHERE id = ?1",
    )?;
    let claims = ids.into_iter().map(|id| {
        update.execute(params![id, request.worker, us_from_now(request.lease)])?;
        let journal = rows::journal(connection, id)?;
        let mut run = rows::read(connection, id)?.run;
        run.cost = cost_of(journal.iter());
        let fence = Fence::new(run.id, run.epoch, Arc::clone(&request.worker));
        let claim = Claim::new(run, fence, journal, signals::open(connection, id)?);
        Ok::<_, StoreError>(claim.claimed_at(claimed_at))
    });
    claims.collect()
}

fn renew(connection: &Connection, fence: &Fence, lease: Duration) -> Result<Renewed, StoreError> {
    let mut update = connection.prepare_cached(
        "UPDATE durable_runs SET due_us = ?4 WHERE run = ?1 AND status = 'running' AND epoch = ?2 AND worker = ?3
         RETURNING signal_number",
    )?;
    let values = params![fence.run.uuid().into_bytes(), fence.epoch, fence.worker, us_from_now(lease)];
    let signal_number = update.query_row(values, |row| row.get(0)).optional()?;
    Ok(signal_number.map_or(Renewed::Lost, Renewed::Held))
}

fn resume(connection: &Connection, run: RunId, removed: &[String]) -> Result<bool, StoreError> {
    let Some(id) = rows::id_of(connection, run)? else { return Ok(false) };
    let status = rows::read(connection, id)?.run.status;
    if !matches!(status, RunState::Failed | RunState::SetAside | RunState::Waiting) {
        return Ok(false);
    }
    let cut = "DELETE FROM durable_steps WHERE run = ?1 AND path IN (SELECT value FROM json_each(?2))";
    connection.prepare_cached(cut)?.execute(params![id, json(&removed)?])?;
    approvals::delete_at(connection, id, removed)?;
    let cost = json(&cost_of(rows::journal(connection, id)?.iter()))?;
    let mut update = connection.prepare_cached(
        "UPDATE durable_runs SET status = 'ready', due_us = ?2, waiting = NULL, error = NULL, attempt = 0, ended_us = NULL,
         cost = ?3 WHERE id = ?1",
    )?;
    update.execute(params![id, now_us(), cost])?;
    Ok(true)
}

#[cfg(test)]
mod tests;
