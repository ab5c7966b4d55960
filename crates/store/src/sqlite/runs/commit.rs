//! Writes the commits of workers.

use brigade_core::RunId;
use brigade_durable::{Commit, CommitError, Committed, NextState, RunState, cost_of};
use rusqlite::{Connection, params};

use super::rows::{journal, json, status, us_from_now};
use crate::{StoreError, sqlite::database::now_us};

/// A commit whose steps are encoded, so that the writer's thread does not have to.
#[derive(Debug)]
pub(super) struct EncodedCommit {
    commit: Commit,
    steps: Vec<EncodedStep>,
    makes_progress: bool,
}

#[derive(Debug)]
struct EncodedStep {
    path: String,
    record: String,
}

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
    attempt: u32,
    commit_number: u64,
    signal_number: u64,
}

/// The row of a run whose worker does not go on with it.
struct Left<'a> {
    status: RunState,
    due_us: Option<i64>,
    waiting: Option<String>,
    output: Option<&'a str>,
    error: Option<&'a str>,
}

impl EncodedCommit {
    pub(super) fn new(commit: &Commit) -> Result<Self, StoreError> {
        let steps = commit.steps.iter().map(|record| {
            let path = record.path.clone();
            json(record).map(|record| EncodedStep { path, record })
        });
        let steps = steps.collect::<Result<_, _>>()?;
        let makes_progress = commit.makes_progress();
        let rest = Commit::new(commit.fence.clone(), commit.number, commit.next.clone(), commit.lease);
        let rest = rest.erase(commit.erase).consumed(commit.consumed.clone());
        Ok(Self { commit: rest, steps, makes_progress })
    }

    pub(super) fn write(&self, connection: &Connection) -> Result<CommitAnswer, StoreError> {
        let Commit { fence, number, next, .. } = &self.commit;
        let Some(current) = Current::read(connection, fence.run)? else { return Ok(CommitAnswer::Fenced) };
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
        self.write_steps(connection, current.id)?;
        if self.commit.erase {
            erase(connection, current.id)?;
        }
        self.go_on(connection, &current).map(CommitAnswer::Committed)
    }

    fn write_steps(&self, connection: &Connection, id: i64) -> Result<(), StoreError> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO durable_steps (run, path, record) VALUES (?1, ?2, ?3)
             ON CONFLICT (run, path) DO UPDATE SET record = excluded.record",
        )?;
        for EncodedStep { path, record } in &self.steps {
            insert.execute(params![id, path, record])?;
        }
        let mut consume =
            connection.prepare_cached("UPDATE durable_signals SET is_consumed = 1 WHERE run = ?1 AND number = ?2")?;
        for number in &self.commit.consumed {
            consume.execute(params![id, number])?;
        }
        Ok(())
    }

    fn go_on(&self, connection: &Connection, current: &Current) -> Result<Committed, StoreError> {
        let attempt = if self.makes_progress { 1 } else { current.attempt };
        let ended = |status| Left { status, due_us: None, waiting: None, output: None, error: None };
        let left = match &self.commit.next {
            NextState::Continue => {
                self.renew(connection, current.id, attempt)?;
                return Ok(Committed::Written);
            }
            NextState::Wait { seen, .. } if *seen != current.signal_number => {
                self.renew(connection, current.id, attempt)?;
                return Ok(Committed::Signalled);
            }
            NextState::Release => {
                let left = Left { due_us: Some(now_us()), ..ended(RunState::Ready) };
                return self.leave(connection, current.id, attempt.saturating_sub(1), &left);
            }
            NextState::Wait { waiting, within, .. } => {
                let (due_us, waiting) = (within.map(us_from_now), Some(json(waiting)?));
                let left = Left { due_us, waiting, ..ended(RunState::Waiting) };
                return self.leave(connection, current.id, attempt.saturating_sub(1), &left);
            }
            NextState::Finish(output) => Left { output: Some(output.get()), ..ended(RunState::Finished) },
            NextState::Cancel(output) => Left { output: Some(output.get()), ..ended(RunState::Cancelled) },
            NextState::Fail(error) => Left { error: Some(error), ..ended(RunState::Failed) },
            NextState::SetAside(error) => Left { error: Some(error), ..ended(RunState::SetAside) },
        };
        self.leave(connection, current.id, attempt, &left)
    }

    /// Most commits. The columns of other indexes are left out, because SQLite would write their entries again.
    fn renew(&self, connection: &Connection, id: i64, attempt: u32) -> Result<(), StoreError> {
        let sql = "UPDATE durable_runs SET commit_number = ?2, attempt = ?3, due_us = ?4 WHERE id = ?1";
        let values = params![id, self.commit.number, attempt, us_from_now(self.commit.lease)];
        connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn leave(&self, connection: &Connection, id: i64, attempt: u32, left: &Left<'_>) -> Result<Committed, StoreError> {
        let Left { status, due_us, waiting, output, error } = left;
        let cost = json(&cost_of(journal(connection, id)?.iter()))?;
        let mut update = connection.prepare_cached(
            "UPDATE durable_runs SET commit_number = ?2, attempt = ?3, status = ?4, due_us = ?5, waiting = ?6, output = ?7,
             error = ?8, ended_us = ?9, cost = ?10 WHERE id = ?1",
        )?;
        let ended_us = status.is_ended().then(now_us);
        let number = self.commit.number;
        update.execute(params![id, number, attempt, status.name(), due_us, waiting, output, error, ended_us, cost])?;
        Ok(Committed::Written)
    }
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
    fn read(connection: &Connection, run: RunId) -> Result<Option<Self>, StoreError> {
        let mut select = connection.prepare_cached(
            "SELECT id, status, epoch, worker, attempt, commit_number, signal_number FROM durable_runs WHERE run = ?1",
        )?;
        let mut rows = select.query([run.uuid().into_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Self {
            id: row.get(0)?,
            status: status(&row.get::<_, String>(1)?)?,
            epoch: row.get(2)?,
            worker: row.get(3)?,
            attempt: row.get(4)?,
            commit_number: row.get(5)?,
            signal_number: row.get(6)?,
        }))
    }
}

/// Erases the content of a run. Its records stay, because its cost is in them.
fn erase(connection: &Connection, id: i64) -> Result<(), StoreError> {
    for sql in [
        "UPDATE durable_inputs SET input = '{}' WHERE id = ?1",
        "UPDATE durable_steps SET record = json_remove(json_set(record, '$.output', NULL), '$.changes.shared') WHERE run = ?1",
        "UPDATE durable_signals SET payload = '{}' WHERE run = ?1",
        "UPDATE durable_approvals SET arguments = '{}', answer = json_remove(answer, '$.arguments') WHERE run = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([id])?;
    }
    Ok(())
}
