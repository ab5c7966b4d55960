//! The rows of responses, and their queries.

use std::{sync::Arc, time::Duration};

use brigade_core::{Message, RawJson, RunId};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::{Database, Erasure, StoreError, sqlite::database::now_us};

/// Responses that clients may read and continue: each is one run, and knows the response that it continues.
///
/// ```
/// use brigade_core::{Message, RawJson, RunId};
/// use brigade_store::{Database, SqliteResponses, StoredResponse};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let responses = SqliteResponses::new(Database::open(folder.path().join("brigade.db"))?);
/// let run = RunId::new();
/// let json = RawJson::parse(r#"{"status": "in_progress"}"#.to_owned())?;
/// responses.insert(StoredResponse::new(run, "ada", json.clone(), json)).await?;
/// responses.add_messages(run, &[Message::user("I am Ada."), Message::assistant("Hello, Ada.")]).await?;
/// assert_eq!(responses.conversation(run, Some("ada"), 1 << 20).await?.len(), 2);
/// assert!(responses.find(run, Some("bob")).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteResponses {
    database: Database,
    keep_for: Duration,
}

/// A response, without the messages that it adds to its conversation.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredResponse {
    /// The run that works on it.
    pub run: RunId,
    /// Its owner, such as an API key's name.
    pub account: Arc<str>,
    /// The run of the response that it continues.
    pub previous: Option<RunId>,
    /// The body of the request.
    pub request: RawJson,
    /// The response as JSON.
    pub response: RawJson,
}

/// How long a response is kept by default, as `OpenAI` keeps them.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// A conversation with more responses is read from there on.
const MAX_CHAIN: usize = 10_000;

/// A statement that deletes many rows blocks other writers.
const MAX_SWEPT: u32 = 100;

const SELECT: &str = "SELECT account, previous, request, response FROM responses WHERE run = ?1 AND at_us >= ?2 AND account = coalesce(?3, account)";

const SELECT_MESSAGES: &str =
    "SELECT previous, messages FROM responses WHERE run = ?1 AND at_us >= ?2 AND account = coalesce(?3, account)";

impl StoredResponse {
    /// A response of this account that continues no other one.
    pub fn new(run: RunId, account: impl Into<Arc<str>>, request: RawJson, response: RawJson) -> Self {
        Self { run, account: account.into(), previous: None, request, response }
    }

    /// Sets the run of the response that it continues.
    #[must_use]
    pub fn previous(self, previous: Option<RunId>) -> Self {
        Self { previous, ..self }
    }
}

impl SqliteResponses {
    /// The responses in this database, which are kept for 30 days.
    pub fn new(database: Database) -> Self {
        Self { database, keep_for: KEPT }
    }

    /// Sets how long a response is kept; `None` is 30 days.
    #[must_use]
    pub fn keep_for(self, keep_for: Option<Duration>) -> Self {
        Self { keep_for: keep_for.unwrap_or(KEPT), ..self }
    }

    /// Stores a response whose run is about to start. One that is stored already stays as it is.
    pub async fn insert(&self, new: StoredResponse) -> Result<(), StoreError> {
        let insert = move |connection: &Connection| {
            let sql = "INSERT INTO responses (run, account, previous, request, response, at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                       ON CONFLICT DO NOTHING";
            let previous = new.previous.map(|run| run.uuid().into_bytes());
            let (request, response) = (new.request.get(), new.response.get());
            let values = params![new.run.uuid().into_bytes(), new.account, previous, request, response, now_us()];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(())
        };
        self.database.write(insert).await
    }

    /// Stores another state of a response.
    pub async fn update(&self, run: RunId, response: RawJson) -> Result<(), StoreError> {
        self.set("UPDATE responses SET response = ?2 WHERE run = ?1", run, response.get().to_owned()).await
    }

    /// Stores the messages that a response adds to its conversation.
    pub async fn add_messages(&self, run: RunId, messages: &[Message]) -> Result<(), StoreError> {
        let messages = serde_json::to_string(messages).map_err(|error| StoreError::unreadable("response", error))?;
        self.set("UPDATE responses SET messages = ?2 WHERE run = ?1", run, messages).await
    }

    async fn set(&self, sql: &'static str, run: RunId, value: String) -> Result<(), StoreError> {
        let update = move |connection: &Connection| {
            connection.prepare_cached(sql)?.execute(params![run.uuid().into_bytes(), value])?;
            Ok(())
        };
        self.database.write(update).await
    }

    /// Returns a response of this account, or of any if it is absent.
    pub async fn find(&self, run: RunId, account: Option<&str>) -> Result<Option<StoredResponse>, StoreError> {
        let (account, oldest) = (account.map(str::to_owned), self.oldest_us());
        self.database.read(move |connection| find(connection, run, account.as_deref(), oldest)).await
    }

    /// The newest messages of the conversation that ends with this response: all, or at least `window_bytes`.
    pub async fn conversation(
        &self,
        run: RunId,
        account: Option<&str>,
        window_bytes: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let (account, oldest) = (account.map(str::to_owned), self.oldest_us());
        let read = move |connection: &Connection| {
            let mut select = connection.prepare_cached(SELECT_MESSAGES)?;
            let (mut next, mut parts, mut size) = (Some(run), Vec::new(), 0);
            while let Some(run) = next.filter(|_| size < window_bytes && parts.len() < MAX_CHAIN) {
                let values = params![run.uuid().into_bytes(), oldest, account];
                let row = |row: &rusqlite::Row<'_>| Ok((run_id(row.get(0)?), row.get::<_, Option<String>>(1)?));
                let Some((previous, messages)) = select.query_row(values, row).optional()? else { break };
                let messages: Vec<Message> = match messages {
                    Some(json) => serde_json::from_str(&json).map_err(unreadable)?,
                    None => Vec::new(),
                };
                size += messages.iter().map(Message::size_bytes).sum::<usize>();
                parts.push(messages);
                next = previous;
            }
            Ok(parts.into_iter().rev().flatten().collect())
        };
        self.database.read(read).await
    }

    /// Deletes a response of this account, or of any if it is absent. Returns false if there is none.
    pub async fn delete(&self, run: RunId, account: Option<&str>) -> Result<bool, StoreError> {
        let account = account.map(str::to_owned);
        let delete = move |connection: &Connection| {
            let sql = "DELETE FROM responses WHERE run = ?1 AND account = coalesce(?2, account)";
            Ok(connection.prepare_cached(sql)?.execute(params![run.uuid().into_bytes(), account])? > 0)
        };
        let is_known = self.database.write(delete).await?;
        if is_known {
            // What a reader still uses is erased later.
            let _: Erasure = self.database.erase_deleted().await?;
        }
        Ok(is_known)
    }

    /// Deletes expired responses, and returns their number. Reads never return them, so this only frees their space.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let oldest = self.oldest_us();
        let mut deleted = 0;
        loop {
            let sweep = move |connection: &Connection| {
                let sql = "DELETE FROM responses WHERE id IN (
                               SELECT id FROM responses WHERE at_us < ?1 ORDER BY at_us LIMIT ?2)";
                Ok(connection.prepare_cached(sql)?.execute(params![oldest, MAX_SWEPT])?)
            };
            match self.database.write(sweep).await? {
                0 => break,
                some => deleted += some as u64,
            }
        }
        if deleted > 0 {
            let _: Erasure = self.database.erase_deleted().await?;
        }
        Ok(deleted)
    }

    fn oldest_us(&self) -> i64 {
        now_us().saturating_sub(i64::try_from(self.keep_for.as_micros()).unwrap_or(i64::MAX))
    }
}

fn find(
    connection: &Connection,
    run: RunId,
    account: Option<&str>,
    oldest_us: i64,
) -> Result<Option<StoredResponse>, StoreError> {
    let mut select = connection.prepare_cached(SELECT)?;
    let row = |row: &rusqlite::Row<'_>| {
        let account: Arc<str> = row.get::<_, String>(0)?.into();
        Ok((account, run_id(row.get(1)?), row.get::<_, String>(2)?, row.get::<_, String>(3)?))
    };
    let found = select.query_row(params![run.uuid().into_bytes(), oldest_us, account], row).optional()?;
    let Some((account, previous, request, response)) = found else { return Ok(None) };
    let json = |text| RawJson::parse(text).map_err(unreadable);
    Ok(Some(StoredResponse { run, account, previous, request: json(request)?, response: json(response)? }))
}

fn run_id(bytes: Option<[u8; 16]>) -> Option<RunId> {
    bytes.map(|bytes| RunId::from(Uuid::from_bytes(bytes)))
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::unreadable("response", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> RawJson {
        RawJson::parse(text.to_owned()).unwrap()
    }

    async fn add(responses: &SqliteResponses, account: &str, previous: Option<RunId>, text: &str) -> RunId {
        let run = RunId::new();
        let new = StoredResponse::new(run, account, json("{}"), json("{}")).previous(previous);
        responses.insert(new).await.unwrap();
        responses.add_messages(run, &[Message::user(text), Message::assistant("Yes.")]).await.unwrap();
        run
    }

    #[tokio::test]
    async fn a_response_continues_the_one_before_and_belongs_to_its_account() {
        let folder = tempfile::tempdir().unwrap();
        let responses = SqliteResponses::new(Database::open(folder.path().join("test.db")).unwrap());
        let first = add(&responses, "ada", None, "one").await;
        let (left, right) =
            (add(&responses, "ada", Some(first), "two").await, add(&responses, "ada", Some(first), "three").await);
        let texts = async |run, account, window| {
            let messages = responses.conversation(run, account, window).await.unwrap();
            messages.iter().map(|message| message.text().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(left, Some("ada"), usize::MAX).await, ["one", "Yes.", "two", "Yes."]);
        assert_eq!(texts(right, None, usize::MAX).await, ["one", "Yes.", "three", "Yes."]);
        assert_eq!(texts(right, None, 1).await, ["three", "Yes."], "whole responses fit a window");
        assert!(texts(left, Some("bob"), usize::MAX).await.is_empty());
        responses.update(left, json("{\"status\":\"completed\"}")).await.unwrap();
        assert!(responses.find(left, Some("bob")).await.unwrap().is_none());
        let found = responses.find(left, None).await.unwrap().unwrap();
        assert_eq!((found.response.get(), found.previous), ("{\"status\":\"completed\"}", Some(first)));
        assert!(!responses.delete(left, Some("bob")).await.unwrap());
        assert!(responses.delete(left, Some("ada")).await.unwrap());
        assert!(responses.find(left, None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn expired_responses_are_never_shown_and_then_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let kept = SqliteResponses::new(Database::open(folder.path().join("test.db")).unwrap());
        let run = add(&kept, "ada", None, "one").await;
        let expired = kept.clone().keep_for(Some(Duration::ZERO));
        assert!(expired.find(run, None).await.unwrap().is_none());
        assert!(expired.conversation(run, None, usize::MAX).await.unwrap().is_empty());
        assert_eq!((kept.sweep().await.unwrap(), expired.sweep().await.unwrap()), (0, 1));
    }
}
