//! Writes the commits of workers.

use std::collections::BTreeMap;

use brigade_core::{RawJson, RunId, StepRecord};
use brigade_durable::{Commit, CommitError, Committed, NextState, RunState, cost_of};
use serde_json::{Map, Value};

use super::rows::{journal, json, status};
use crate::{
    StoreError,
    postgres::{
        database::PostgresDatabase,
        session::Session,
        values::{get, signed, storable, unsigned, us, values},
    },
};

/// The result of a commit.
#[derive(Debug)]
pub(super) enum CommitAnswer {
    Committed(Committed),
    Fenced,
    /// With the number of the last commit.
    Diverged(u64),
}

/// The part of a run that decides about a commit.
struct Current {
    id: i64,
    status: RunState,
    epoch: u64,
    worker: String,
    attempt: i64,
    commit_number: u64,
    signal_number: u64,
}

/// The row of a run whose worker does not go on with it.
struct Left {
    status: RunState,
    /// It is due after this time, in microseconds.
    due_in_us: Option<i64>,
    waiting: Option<String>,
    output: Option<String>,
    error: Option<String>,
}

/// Most commits, in one statement: it proves the fence and the number, renews the lease and writes the steps.
const GO_ON: &str = "WITH held AS (
        UPDATE brigade.durable_runs SET commit_number = $4, due_us = brigade.now_us() + $6,
            attempt = CASE WHEN $5 THEN 1 ELSE attempt END
        WHERE run = $1 AND epoch = $2 AND worker = $3 AND status = 'running' AND commit_number = $4 - 1
        RETURNING id
    ), written AS (
        INSERT INTO brigade.durable_steps (run, path, record)
        SELECT held.id, step.path, step.record FROM held, unnest($7, $8) AS step (path, record)
        ON CONFLICT (run, path) DO UPDATE SET record = excluded.record
    ), used AS (
        UPDATE brigade.durable_signals AS signal SET is_consumed = true FROM held
        WHERE signal.run = held.id AND signal.number = ANY($9)
    )
    SELECT id FROM held";

const CURRENT: &str = "SELECT id, status, epoch, worker, attempt, commit_number, signal_number
    FROM brigade.durable_runs WHERE run = $1 FOR UPDATE";

/// The paths and records of the steps of a commit. One statement cannot write a row twice, so only the last record of
/// a path is written.
struct Steps {
    paths: Vec<String>,
    records: Vec<String>,
}

impl Steps {
    fn of(commit: &Commit) -> Result<Self, StoreError> {
        let steps: BTreeMap<_, _> = commit.steps.iter().map(|record| (&record.path, record)).collect();
        let paths = steps.keys().map(|path| (*path).clone()).collect();
        let records = steps.into_values().map(json).collect::<Result<_, _>>()?;
        Ok(Self { paths, records })
    }
}

/// Writes a commit.
pub(super) async fn write(database: &PostgresDatabase, commit: &Commit) -> Result<CommitAnswer, StoreError> {
    let steps = Steps::of(commit)?;
    let session = database.session().await?;
    if matches!(commit.next, NextState::Continue) && !commit.erase {
        match go_on_in_one(&session, commit, &steps).await {
            Ok(true) => return session.done(Ok(CommitAnswer::Committed(Committed::Written))),
            // The run is read to find out why nothing was written.
            Ok(false) => {}
            Err(error) => return session.done(Err(error)),
        }
    }
    let answer = write_in(&session, commit, &steps).await;
    session.end(answer).await
}

/// Writes a commit that goes on with its run. Returns false, and writes nothing, if the commit is not the next one of the
/// worker that has the run.
async fn go_on_in_one(session: &Session, commit: &Commit, steps: &Steps) -> Result<bool, StoreError> {
    let Commit { fence, number, .. } = commit;
    let (run, epoch, worker) = (fence.run.uuid(), signed(fence.epoch), &*fence.worker);
    let (number, is_progress, lease) = (signed(*number), commit.makes_progress(), us(commit.lease));
    let consumed: Vec<_> = commit.consumed.iter().copied().map(signed).collect();
    let values = values![run, epoch, worker, number, is_progress, lease, steps.paths, steps.records, consumed];
    Ok(!session.query(GO_ON, values).await?.is_empty())
}

/// Writes a commit in a transaction, which begins here.
async fn write_in(session: &Session, commit: &Commit, steps: &Steps) -> Result<CommitAnswer, StoreError> {
    let Commit { fence, number, next, .. } = commit;
    let Some(current) = Current::lock(session, fence.run).await? else { return Ok(CommitAnswer::Fenced) };
    let last = current.commit_number;
    let is_last_writer = current.epoch == fence.epoch && current.worker == *fence.worker;
    let is_running = current.status == RunState::Running;
    // The repeated commit may be the one that ended the run.
    if is_last_writer && *number == last && last > 0 {
        let goes_on = is_running && matches!(next, NextState::Wait { .. });
        return Ok(CommitAnswer::Committed(if goes_on { Committed::Signalled } else { Committed::Written }));
    }
    if !(is_last_writer && is_running) {
        return Ok(CommitAnswer::Fenced);
    }
    if *number != last + 1 {
        return Ok(CommitAnswer::Diverged(last));
    }
    let insert = "INSERT INTO brigade.durable_steps (run, path, record)
         SELECT $1, step.path, step.record FROM unnest($2, $3) AS step (path, record)
         ON CONFLICT (run, path) DO UPDATE SET record = excluded.record";
    session.execute(insert, values![current.id, steps.paths, steps.records]).await?;
    let consumed: Vec<i64> = commit.consumed.iter().copied().map(signed).collect();
    let consume = "UPDATE brigade.durable_signals SET is_consumed = true WHERE run = $1 AND number = ANY($2)";
    session.execute(consume, values![current.id, consumed]).await?;
    if commit.erase {
        erase(session, current.id).await?;
    }
    go_on(session, commit, &current).await.map(CommitAnswer::Committed)
}

async fn go_on(session: &Session, commit: &Commit, current: &Current) -> Result<Committed, StoreError> {
    let attempt = if commit.makes_progress() { 1 } else { current.attempt };
    let ended = |status| Left { status, due_in_us: None, waiting: None, output: None, error: None };
    let left = match &commit.next {
        NextState::Continue => return renew(session, commit, current.id, attempt).await.map(|()| Committed::Written),
        NextState::Wait { seen, .. } if *seen != current.signal_number => {
            return renew(session, commit, current.id, attempt).await.map(|()| Committed::Signalled);
        }
        NextState::Release => {
            let left = Left { due_in_us: Some(0), ..ended(RunState::Ready) };
            return leave(session, commit, (current.id, attempt - 1), &left).await;
        }
        NextState::Wait { waiting, within, .. } => {
            let (due_in_us, waiting) = (within.map(us), Some(json(waiting)?));
            let left = Left { due_in_us, waiting, ..ended(RunState::Waiting) };
            return leave(session, commit, (current.id, attempt - 1), &left).await;
        }
        NextState::Finish(output) => Left { output: Some(output.get().to_owned()), ..ended(RunState::Finished) },
        NextState::Cancel(output) => Left { output: Some(output.get().to_owned()), ..ended(RunState::Cancelled) },
        NextState::Fail(error) => Left { error: Some(storable(error)), ..ended(RunState::Failed) },
        NextState::SetAside(error) => Left { error: Some(storable(error)), ..ended(RunState::SetAside) },
    };
    leave(session, commit, (current.id, attempt), &left).await
}

async fn renew(session: &Session, commit: &Commit, id: i64, attempt: i64) -> Result<(), StoreError> {
    let update = "UPDATE brigade.durable_runs SET commit_number = $2, attempt = $3, due_us = brigade.now_us() + $4
         WHERE id = $1";
    session.execute(update, values![id, signed(commit.number), attempt, us(commit.lease)]).await?;
    Ok(())
}

/// Leaves a run, with the key of its row, in another state and after this attempt.
async fn leave(
    session: &Session,
    commit: &Commit,
    (id, attempt): (i64, i64),
    left: &Left,
) -> Result<Committed, StoreError> {
    let cost = json(&cost_of(journal(session, id).await?.iter()))?;
    let update = "UPDATE brigade.durable_runs SET commit_number = $2, attempt = $3, status = $4,
         due_us = brigade.now_us() + $5, waiting = $6, output = $7, error = $8, cost = $9,
         ended_us = CASE WHEN $10 THEN brigade.now_us() END WHERE id = $1";
    let Left { status, due_in_us, waiting, output, error } = left;
    let (name, is_ended, number) = (status.name(), status.is_ended(), signed(commit.number));
    let attempt = attempt.max(0);
    let values = values![id, number, attempt, name, *due_in_us, *waiting, *output, *error, cost, is_ended];
    session.execute(update, values).await?;
    Ok(Committed::Written)
}

impl CommitAnswer {
    /// The answer for the worker that sent the commit with this number.
    pub(super) fn into_result(self, number: u64) -> Result<Committed, CommitError> {
        match self {
            Self::Committed(committed) => Ok(committed),
            Self::Fenced => Err(CommitError::Fenced),
            Self::Diverged(last) => Err(CommitError::Diverged { number, last }),
        }
    }
}

impl Current {
    async fn lock(session: &Session, run: RunId) -> Result<Option<Self>, StoreError> {
        let rows = session.begin_with(CURRENT, values![run.uuid()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Self {
            id: get(row, "id")?,
            status: status(get(row, "status")?)?,
            epoch: unsigned(get(row, "epoch")?),
            worker: get(row, "worker")?,
            attempt: get(row, "attempt")?,
            commit_number: unsigned(get(row, "commit_number")?),
            signal_number: unsigned(get(row, "signal_number")?),
        }))
    }
}

/// Erases the content of a run. Its records stay, because its cost is in them.
async fn erase(session: &Session, id: i64) -> Result<(), StoreError> {
    let erased = journal(session, id).await?.into_iter().map(erased_record);
    let (mut paths, mut records) = (Vec::new(), Vec::new());
    for record in erased {
        records.push(json(&record)?);
        paths.push(record.path);
    }
    let update = "UPDATE brigade.durable_steps AS step SET record = erased.record
         FROM unnest($2, $3) AS erased (path, record) WHERE step.run = $1 AND step.path = erased.path";
    session.execute(update, values![id, paths, records]).await?;
    let select = "SELECT id, answer FROM brigade.durable_approvals WHERE run = $1 AND answer IS NOT NULL";
    for row in &session.query(select, values![id]).await? {
        let mut answer: Map<String, Value> =
            serde_json::from_str(get(row, "answer")?).map_err(super::rows::unreadable)?;
        if answer.remove("arguments").is_some() {
            let update = "UPDATE brigade.durable_approvals SET answer = $2 WHERE id = $1";
            session.execute(update, values![get::<i64>(row, "id")?, json(&answer)?]).await?;
        }
    }
    for update in [
        "UPDATE brigade.durable_inputs SET input = '{}' WHERE id = $1",
        "UPDATE brigade.durable_signals SET payload = '{}' WHERE run = $1",
        "UPDATE brigade.durable_approvals SET arguments = '{}' WHERE run = $1",
    ] {
        session.execute(update, values![id]).await?;
    }
    Ok(())
}

/// The record without its output and its changes of shared values.
fn erased_record(mut record: StepRecord) -> StepRecord {
    record.output = None;
    let changes = serde_json::from_str::<Map<String, Value>>(record.changes.get()).ok();
    let erased = changes.and_then(|mut changes| changes.remove("shared").and_then(|_| RawJson::of(&changes).ok()));
    if let Some(erased) = erased {
        record.changes = erased;
    }
    record
}
