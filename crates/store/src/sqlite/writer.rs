//! The writer thread.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{
    database::connect_writer,
    file::{DatabaseFile, FileState},
    readers::Readers,
};
use crate::{DatabaseSettings, StoreError};

/// A queued write. It gets the error if no transaction could begin.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> PendingCommit + Send>;

/// A job that has run and waits for the commit.
struct PendingCommit {
    failure: Option<StoreError>,
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// The writer thread and its queue.
///
/// SQLite has one writer at a time. With one thread and a queue, callers wait without blocking the runtime, and one commit,
/// which waits for the disk, serves all callers that wait meanwhile.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the writer's connection comes from. It opens another one if the file was replaced.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: DatabaseFile,
    pub(crate) settings: DatabaseSettings,
    pub(crate) readers: Readers,
    pub(crate) generation: Arc<AtomicU64>,
}

/// Callers wait while the queue is full, so that a slow disk causes back pressure and not memory growth.
const QUEUE_LENGTH: usize = 256;

/// With more, the first job of a group would wait too long for the last.
const MAX_PER_COMMIT: usize = 128;

impl Writer {
    pub(crate) fn start(connection: Connection, source: Source) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH);
        let builder = std::thread::Builder::new().name("brigade-store".to_owned());
        let thread = builder.spawn(move || write_all(connection, source, jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `work` in a transaction, and returns when it is on disk. It runs even if the future is dropped.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        let (job, answer) = job(work);
        queue.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Like [`Writer::write`], for threads that may block.
    pub(crate) fn write_blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        let (job, answer) = job(work);
        queue.blocking_send(job).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without a sender, the thread ends when it has written everything.
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the database panicked");
        }
    }
}

fn job<T, F>(work: F) -> (Job, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let result = connection.and_then(|connection| in_savepoint(connection, work));
        PendingCommit {
            failure: result.as_ref().err().cloned(),
            // The caller may have gone away.
            answer: Box::new(move |committed| drop(answer.send(result.and_then(|value| committed.map(|()| value))))),
        }
    });
    (job, answered)
}

/// Runs `work` in a savepoint, so that its failure does not roll back the other jobs of its group.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.execute_batch("SAVEPOINT job")?;
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| work(connection)));
    let result = result.unwrap_or(Err(StoreError::Panicked));
    // A full disk may have rolled back everything: https://sqlite.org/lang_transaction.html, section 3.1.
    if !connection.is_autocommit() {
        let end = if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        connection.execute_batch(end)?;
    }
    result
}

fn write_all(connection: Connection, mut source: Source, mut jobs: mpsc::Receiver<Job>) {
    let mut open = Some(connection);
    while let Some(first) = jobs.blocking_recv() {
        let waiting = std::iter::from_fn(|| jobs.try_recv().ok()).take(MAX_PER_COMMIT);
        // Collected, because a job that comes later must not get the error of an earlier one.
        let mut group = std::iter::once(first).chain(waiting).collect::<Vec<_>>().into_iter().peekable();
        while group.peek().is_some() {
            match source.current(&mut open) {
                Ok(connection) => write_group(connection, &mut group),
                Err(error) => refuse(&mut group, &error),
            }
        }
    }
    // SQLite checkpoints the log when the last connection is closed. If a reader is in use, the next start does it.
    source.readers.retire();
    if let Some(Err((_, error))) = open.map(Connection::close) {
        tracing::debug!(%error, "the database was not closed cleanly");
    }
}

impl Source {
    /// The open connection, or a new one if the file was replaced.
    fn current<'a>(&mut self, open: &'a mut Option<Connection>) -> Result<&'a mut Connection, StoreError> {
        let state = self.file.check()?;
        let connection = match open.take() {
            Some(connection) if state == FileState::Unchanged => connection,
            replaced => self.reopen(replaced)?,
        };
        Ok(open.insert(connection))
    }

    fn reopen(&mut self, replaced: Option<Connection>) -> Result<Connection, StoreError> {
        self.readers.retire();
        if let Some(connection) = replaced {
            tracing::warn!("the database {} was replaced; opening the new file", self.file.path().display());
            // SQLite would apply a log that was left behind to the new file. An error means that it is gone, too.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        self.file.reopen()?;
        self.readers.keep_open(self.file.handle());
        let connection = connect_writer(self.file.path(), &self.settings)?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(connection)
    }
}

/// Answers all jobs with the error.
fn refuse(jobs: &mut impl Iterator<Item = Job>, error: &StoreError) {
    for job in jobs {
        (job(Err(error.clone())).answer)(Ok(()));
    }
}

/// Runs the jobs in one transaction. If one makes SQLite roll back, the rest stays in `jobs`.
fn write_group(connection: &mut Connection, jobs: &mut impl Iterator<Item = Job>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => return refuse(jobs, &StoreError::from(error)),
    };
    let mut group = Vec::new();
    let mut rolled_back = None;
    for job in jobs {
        let pending = job(Ok(&transaction));
        // SQLite has rolled back, so the next job would run outside a transaction.
        if transaction.is_autocommit() {
            rolled_back.clone_from(&pending.failure);
        }
        group.push(pending);
        if transaction.is_autocommit() {
            break;
        }
    }
    let committed = match rolled_back {
        Some(error) => Err(error),
        None => transaction.commit().map_err(StoreError::from),
    };
    for pending in group {
        (pending.answer)(committed.clone());
    }
}

#[cfg(test)]
mod tests;
