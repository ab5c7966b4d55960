//! Approvals of calls of durable runs.

use std::time::Duration;

use brigade_core::RunId;
use brigade_durable::{
    Answered, Approval, ApprovalAnswer, ApprovalQuery, ApprovalStatus, NewApproval, RunState, StoredRun,
};
use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, params, params_from_iter};
use uuid::Uuid;

use super::{
    rows::{id_of, json, raw_json, read, status, unreadable},
    signals,
};
use crate::{
    StoreError,
    sqlite::{conditions::Conditions, database::now_us},
};

const SELECT: &str =
    "SELECT a.id AS approval_row, approval, a.path, tool, sha256, arguments, schema, requested_us, expires_us,
     answer, answered_us, r.id AS run_row, r.run, queue, account, status";

const FROM: &str = "FROM durable_approvals AS a JOIN durable_runs AS r ON r.id = a.run";

/// Whether the run of an approval ended before the approval expired, or is to be cancelled.
const IS_CLOSED: &str = "((ended_us IS NOT NULL AND ended_us < expires_us) OR EXISTS (
     SELECT 1 FROM durable_signals AS s WHERE s.run = r.id AND s.kind = 'cancel' AND NOT s.is_consumed))";

/// A stored approval, with the keys of its row and of the row of its run.
struct ApprovalRow {
    id: i64,
    run: i64,
    run_status: RunState,
    approval: Approval,
}

/// Stores an approval, unless there is one for this call. Absent if the run is not stored.
pub(super) fn request(connection: &Connection, new: &NewApproval) -> Result<Option<Approval>, StoreError> {
    let Some(id) = id_of(connection, new.run)? else { return Ok(None) };
    let of_call = "a.run = ?1 AND a.path = ?2 AND a.tool = ?3 AND a.sha256 = ?4";
    let call = params![id, new.path, new.tool, new.sha256];
    if let Some(known) = select(connection, of_call, call)?.pop() {
        return Ok(Some(known.approval));
    }
    let insert =
        "INSERT INTO durable_approvals (approval, run, path, tool, sha256, arguments, schema, requested_us, expires_us)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let StoredRun { queue, account, .. } = read(connection, id)?.run;
    let now = Timestamp::from_microsecond(now_us()).unwrap_or_default();
    let approval = new.clone().into_stored(queue, account, now);
    let Approval { id: approval_id, path, tool, sha256, requested_at, expires_at, .. } = &approval;
    let (requested_us, expires_us) = (requested_at.as_microsecond(), expires_at.as_microsecond());
    let (arguments, schema) = (approval.arguments.get(), approval.schema.get());
    let values = params![approval_id, id, path, tool, sha256, arguments, schema, requested_us, expires_us];
    connection.prepare_cached(insert)?.execute(values)?;
    Ok(Some(approval))
}

/// Stores an answer, and makes a waiting run ready.
pub(super) fn answer(connection: &Connection, id: &str, answer: &ApprovalAnswer) -> Result<Answered, StoreError> {
    let Some(row) = select(connection, "approval = ?1", [id])?.pop() else { return Ok(Answered::Unknown) };
    if let Some(refusal) = row.approval.refusal(answer) {
        return Ok(refusal);
    }
    let update = "UPDATE durable_approvals SET answer = ?2, answered_us = ?3 WHERE id = ?1";
    connection.prepare_cached(update)?.execute(params![row.id, json(answer)?, now_us()])?;
    signals::wake(connection, row.run, row.run_status)?;
    Ok(Answered::Stored)
}

/// Approvals, newest first.
pub(super) fn list(connection: &Connection, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
    let mut conditions = Conditions::default();
    conditions.and("approval =", query.id.clone());
    conditions.and("r.run =", query.run.map(|run| run.uuid().as_bytes().to_vec()));
    conditions.and("a.path =", query.path.clone());
    if let Some(accounts) = &query.accounts {
        conditions.values.push(json(accounts)?.into());
        let number = conditions.values.len();
        conditions.extend(Some(format!("account IN (SELECT value FROM json_each(?{number}))")));
    }
    conditions.extend(query.status.and_then(condition));
    // A negative limit is none.
    let limit = query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let condition = format!("{} ORDER BY a.id DESC LIMIT {limit}", conditions.sql());
    let rows = select(connection, &condition, params_from_iter(conditions.values))?;
    let approvals = rows.into_iter().map(|row| row.approval);
    // A row may have expired since the condition was checked.
    Ok(approvals.filter(|approval| query.status.is_none_or(|status| approval.status == status)).collect())
}

/// Deletes the approvals at these paths, inside them and around them.
pub(super) fn delete_at(connection: &Connection, id: i64, paths: &[String]) -> Result<(), StoreError> {
    // `json_each` has a column called `path` too.
    let delete = "DELETE FROM durable_approvals AS a WHERE run = ?1 AND EXISTS (
         SELECT 1 FROM json_each(?2) AS cut WHERE a.path = cut.value
         OR substr(a.path, 1, length(cut.value) + 1) = cut.value || '/'
         OR substr(cut.value, 1, length(a.path) + 1) = a.path || '/')";
    connection.prepare_cached(delete)?.execute(params![id, json(&paths)?])?;
    Ok(())
}

/// The condition under which an approval has this status. It selects too many rather than too few.
fn condition(status: ApprovalStatus) -> Option<String> {
    let condition = match status {
        ApprovalStatus::Pending => format!(
            "answer IS NULL AND expires_us > {} AND NOT {IS_CLOSED} AND status IN ('{}', '{}', '{}')",
            now_us(),
            RunState::Ready.name(),
            RunState::Running.name(),
            RunState::Waiting.name()
        ),
        ApprovalStatus::Approved => "answer ->> 'is_approved' = 1".to_owned(),
        ApprovalStatus::Denied => "answer ->> 'is_approved' = 0".to_owned(),
        ApprovalStatus::Expired => format!("answer IS NULL AND expires_us <= {} AND NOT {IS_CLOSED}", now_us()),
        ApprovalStatus::Closed => format!("answer IS NULL AND {IS_CLOSED}"),
        _ => return None,
    };
    Some(condition)
}

fn select(connection: &Connection, condition: &str, values: impl Params) -> Result<Vec<ApprovalRow>, StoreError> {
    let sql = format!("{SELECT}, {IS_CLOSED} AS is_closed {FROM} WHERE {condition}");
    let mut select = connection.prepare_cached(&sql)?;
    select.query_and_then(values, approval_row)?.collect()
}

fn approval_row(row: &Row<'_>) -> Result<ApprovalRow, StoreError> {
    let text = |name: &str| row.get::<_, String>(name);
    let (requested_us, expires_us) = (row.get::<_, i64>("requested_us")?, row.get::<_, i64>("expires_us")?);
    let run = RunId::from(Uuid::from_bytes(row.get("run")?));
    let arguments = raw_json(text("arguments")?)?;
    let new = NewApproval::stored(run, text("path")?, text("tool")?, arguments, text("sha256")?);
    let mut new = new.schema(raw_json(text("schema")?)?);
    new.id = text("approval")?;
    new.expires_in = Duration::from_micros(u64::try_from(expires_us - requested_us).unwrap_or_default());
    let mut approval = new.into_stored(row.get("queue")?, row.get("account")?, time(requested_us)?);
    let answer: Option<String> = row.get("answer")?;
    approval.answer = answer.map(|answer| serde_json::from_str(&answer).map_err(unreadable)).transpose()?;
    approval.answered_at = row.get::<_, Option<i64>>("answered_us")?.map(time).transpose()?;
    let run_status = status(&text("status")?)?;
    let time_left = Duration::from_micros(u64::try_from(expires_us - now_us()).unwrap_or_default());
    let approval = approval.with_status(time_left, row.get("is_closed")?);
    Ok(ApprovalRow { id: row.get("approval_row")?, run: row.get("run_row")?, run_status, approval })
}

fn time(us: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(us).map_err(|error| StoreError::unreadable("approval", error))
}
