//! The row of a run.

use std::sync::Arc;

use brigade_core::{Run, RunId};
use rusqlite::{Connection, OptionalExtension, params};

use super::history::RunOwner;
use crate::{StoreError, sqlite::database::now_us};

/// What is known of a run when it starts.
#[derive(Debug, Clone)]
pub(super) struct RunRow {
    pub(super) run: RunId,
    trace: String,
    agent: String,
    owner: RunOwner,
    user: Option<Arc<str>>,
    depth: u32,
    parent: Option<RunId>,
    at_us: i64,
}

impl RunRow {
    pub(super) fn new(run: &Run, owner: &RunOwner) -> Self {
        Self {
            run: run.id(),
            trace: run.trace().to_string(),
            agent: run.agent().to_string(),
            owner: owner.clone(),
            user: run.scope().user.clone(),
            depth: run.depth(),
            parent: run.parent(),
            at_us: now_us(),
        }
    }

    /// The id of the row, which is inserted if it is missing.
    pub(super) fn id(&self, connection: &Connection, epoch: i64) -> Result<i64, StoreError> {
        let Self { trace, agent, owner: RunOwner { account, session }, user, depth, at_us, .. } = self;
        let run = self.run.uuid().into_bytes();
        let mut select = connection.prepare_cached("SELECT id FROM runs WHERE run = ?1")?;
        if let Some(id) = select.query_row([run], |row| row.get(0)).optional()? {
            return Ok(id);
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO runs (run, trace, agent, account, depth, epoch, started_us, session, user, root)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?10, (SELECT coalesce(root, run) FROM runs WHERE run = ?9))",
        )?;
        let parent = self.parent.map(|parent| parent.uuid().into_bytes());
        Ok(insert.insert(params![run, trace, agent, account, depth, epoch, at_us, session, parent, user])?)
    }
}
