//! Approvals of calls of durable runs.

use std::{sync::Arc, time::Duration};

use brigade_core::RunId;
use brigade_durable::{Answered, Approval, ApprovalAnswer, ApprovalQuery, ApprovalStatus, NewApproval};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    rows::{json, lock, raw_json, time, unreadable},
    signals,
};
use crate::{
    StoreError,
    postgres::{
        database::PostgresDatabase,
        session::Session,
        values::{first, get, unsigned, us, values},
    },
};

/// Whether the run of an approval ended before the approval expired, or is to be cancelled.
macro_rules! is_closed {
    () => {
        "((r.ended_us IS NOT NULL AND r.ended_us < a.expires_us) OR EXISTS (
             SELECT 1 FROM brigade.durable_signals AS s
             WHERE s.run = r.id AND s.kind = 'cancel' AND NOT s.is_consumed))"
    };
}

const SELECT: &str = concat!(
    "SELECT a.id AS approval_row, a.approval, a.path, a.tool, a.sha256, a.arguments, a.schema,
     a.requested_us, a.expires_us, a.expires_us - brigade.now_us() AS left_us, a.answer, a.answered_us,
     r.id AS run_row, r.run, r.queue, r.account, ",
    is_closed!(),
    " AS is_closed FROM brigade.durable_approvals AS a JOIN brigade.durable_runs AS r ON r.id = a.run"
);

/// Stores an approval, unless there is one for this call. Absent if the run is not stored.
pub(super) async fn request(database: &PostgresDatabase, new: &NewApproval) -> Result<Option<Approval>, StoreError> {
    let session = database.session().await?;
    let requested = request_in(&session, new).await;
    session.end(requested).await
}

async fn request_in(session: &Session, new: &NewApproval) -> Result<Option<Approval>, StoreError> {
    let Some((run, _)) = lock(session, new.run).await? else { return Ok(None) };
    let insert = "INSERT INTO brigade.durable_approvals
         (approval, run, path, tool, sha256, arguments, schema, requested_us, expires_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, brigade.now_us(), brigade.now_us() + $8)
         ON CONFLICT (run, path, tool, sha256) DO NOTHING";
    let NewApproval { id, path, tool, sha256, .. } = new;
    let (arguments, schema) = (new.arguments.get(), new.schema.get());
    let expires_in = us(new.expires_in);
    session.execute(insert, values![*id, run, *path, *tool, *sha256, arguments, schema, expires_in]).await?;
    let select = format!("{SELECT} WHERE a.run = $1 AND a.path = $2 AND a.tool = $3 AND a.sha256 = $4");
    let rows = session.query(&select, values![run, *path, *tool, *sha256]).await?;
    rows.first().map(approval).transpose()
}

/// Stores an answer, and makes a waiting run ready.
pub(super) async fn answer(
    database: &PostgresDatabase,
    id: &str,
    answer: &ApprovalAnswer,
) -> Result<Answered, StoreError> {
    let select = "SELECT r.run FROM brigade.durable_approvals AS a JOIN brigade.durable_runs AS r ON r.id = a.run
         WHERE a.approval = $1";
    let Some(run) = first::<Uuid>(&database.query(select, values![id]).await?)? else { return Ok(Answered::Unknown) };
    let session = database.session().await?;
    let answered = answer_in(&session, RunId::from(run), (id, answer)).await;
    session.end(answered).await
}

/// The run is locked first, as for every other change of it.
async fn answer_in(
    session: &Session,
    run: RunId,
    (id, answer): (&str, &ApprovalAnswer),
) -> Result<Answered, StoreError> {
    let Some((run, _)) = lock(session, run).await? else { return Ok(Answered::Unknown) };
    let rows = session.query(&format!("{SELECT} WHERE a.approval = $1"), values![id]).await?;
    let Some(row) = rows.first() else { return Ok(Answered::Unknown) };
    if let Some(refusal) = approval(row)?.refusal(answer) {
        return Ok(refusal);
    }
    let update = "UPDATE brigade.durable_approvals SET answer = $2, is_approved = $3, answered_us = brigade.now_us()
         WHERE id = $1";
    session.execute(update, values![get::<i64>(row, "approval_row")?, json(answer)?, answer.is_approved]).await?;
    signals::wake(session, run).await?;
    Ok(Answered::Stored)
}

/// Approvals, newest first.
pub(super) async fn list(database: &PostgresDatabase, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
    let run = query.run.map(RunId::uuid);
    let accounts = query.accounts.as_ref();
    let accounts = accounts.map(|accounts| accounts.iter().map(|account| &**account).collect::<Vec<_>>());
    let limit = query.limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let select = format!(
        "{SELECT} WHERE {} AND {} AND {} AND {} AND {} ORDER BY a.id DESC LIMIT $4",
        if query.id.is_some() { "a.approval = $1" } else { "$1::text IS NULL" },
        if run.is_some() { "r.run = $2" } else { "$2::uuid IS NULL" },
        if accounts.is_some() { "r.account = ANY($3)" } else { "$3::text[] IS NULL" },
        if query.path.is_some() { "a.path = $5" } else { "$5::text IS NULL" },
        query.status.map_or("true", condition),
    );
    let rows = database.query(&select, values![query.id, run, accounts, limit, query.path]).await?;
    let approvals = rows.iter().map(approval).collect::<Result<Vec<_>, _>>()?;
    Ok(approvals.into_iter().filter(|approval| query.status.is_none_or(|status| approval.status == status)).collect())
}

/// Deletes the approvals at these paths, inside them and around them.
pub(super) async fn delete_at(session: &Session, run: i64, paths: &[String]) -> Result<(), StoreError> {
    let delete = "DELETE FROM brigade.durable_approvals AS a WHERE a.run = $1 AND EXISTS (
         SELECT 1 FROM unnest($2) AS cut (path) WHERE a.path = cut.path
         OR starts_with(a.path, cut.path || '/') OR starts_with(cut.path, a.path || '/'))";
    session.execute(delete, values![run, paths.to_vec()]).await?;
    Ok(())
}

/// The condition under which an approval has this status. It selects too many rather than too few.
fn condition(status: ApprovalStatus) -> &'static str {
    match status {
        ApprovalStatus::Pending => concat!(
            "a.answer IS NULL AND a.expires_us > brigade.now_us() AND r.status IN ('ready', 'running', 'waiting') AND NOT ",
            is_closed!()
        ),
        ApprovalStatus::Approved => "a.is_approved",
        ApprovalStatus::Denied => "NOT a.is_approved",
        ApprovalStatus::Expired => {
            concat!("a.answer IS NULL AND a.expires_us <= brigade.now_us() AND NOT ", is_closed!())
        }
        ApprovalStatus::Closed => concat!("a.answer IS NULL AND ", is_closed!()),
        _ => "true",
    }
}

fn approval(row: &Row) -> Result<Approval, StoreError> {
    let (requested_us, expires_us) = (get::<i64>(row, "requested_us")?, get::<i64>(row, "expires_us")?);
    let run = RunId::from(get::<Uuid>(row, "run")?);
    let [path, tool, sha256] = [get::<&str>(row, "path")?, get(row, "tool")?, get(row, "sha256")?];
    let new = NewApproval::stored(run, path, tool, raw_json(get(row, "arguments")?)?, sha256);
    let mut new = new.schema(raw_json(get(row, "schema")?)?);
    new.id = get(row, "approval")?;
    new.expires_in = Duration::from_micros(unsigned(expires_us - requested_us));
    let [queue, account] = [get::<&str>(row, "queue")?, get(row, "account")?].map(Arc::from);
    let mut approval = new.into_stored(queue, account, time(requested_us)?);
    let answer: Option<&str> = get(row, "answer")?;
    approval.answer = answer.map(|answer| serde_json::from_str(answer).map_err(unreadable)).transpose()?;
    approval.answered_at = get::<Option<i64>>(row, "answered_us")?.map(time).transpose()?;
    let time_left = Duration::from_micros(unsigned(get(row, "left_us")?));
    Ok(approval.with_status(time_left, get(row, "is_closed")?))
}
