//! The writer thread.

use std::{
    future::Future,
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::source::Source;
use crate::{StoreError, unpoisoned};

/// An entry of the queue.
enum Request {
    Write(Job),
    /// Truncates the log, which cannot be done in a transaction.
    TruncateLog(oneshot::Sender<Result<bool, StoreError>>),
}

/// A queued write. It gets the error if no transaction could begin.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> PendingCommit + Send>;

/// A job that has run and waits for the commit.
struct PendingCommit {
    failure: Option<StoreError>,
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// The jobs of a transaction that has ended.
struct WrittenGroup {
    jobs: Vec<PendingCommit>,
    committed: Result<(), StoreError>,
}

/// The writer thread and its queue.
///
/// SQLite has one writer at a time. With one thread and a queue, callers wait without blocking the runtime, and one commit,
/// which waits for the disk, serves all callers that wait meanwhile.
///
/// While another program locks the file, jobs stay in the queue, and callers wait for the busy timeout since the lock was
/// noticed.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Request>,
    state: Arc<WriterState>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct WriterState {
    /// The time at which another program was found to lock the file; absent while none does.
    locked_since: watch::Sender<Option<Instant>>,
    /// How long callers and the end of the thread wait for the lock.
    timeout: Duration,
    is_closing: AtomicBool,
    /// The number of writes that found no place in the queue.
    dropped: AtomicU64,
}

/// Callers wait while the queue is full, so that a slow disk causes back pressure and not memory growth.
const QUEUE_LENGTH: usize = 256;

/// With more, the first job of a group would wait too long for the last.
const MAX_PER_COMMIT: usize = 128;

impl Writer {
    pub(crate) fn start(connection: Connection, source: Source, timeout: Duration) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE_LENGTH);
        let state = Arc::new(WriterState {
            locked_since: watch::Sender::new(None),
            timeout,
            is_closing: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let builder = std::thread::Builder::new().name("brigade-store".to_owned());
        let of_thread = Arc::clone(&state);
        let thread = builder.spawn(move || write_all(connection, source, requests, &of_thread))?;
        Ok(Self { queue, state, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a transaction, and returns when it is on disk. It runs even if the future is dropped.
    ///
    /// # Errors
    ///
    /// Fails with [`StoreError::Locked`] if another program locks the file for too long.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(work);
        self.send(Request::Write(job)).await?;
        let answer = async { answer.await.map_err(|_| StoreError::Closed)? };
        self.unless_locked(answer).await
    }

    /// Like [`Writer::write`], for threads that may block. Waits as long as another program locks the file.
    pub(crate) fn write_blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(work);
        self.queue.blocking_send(Request::Write(job)).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Truncates the log. Returns false if a reader or another program uses it.
    pub(crate) async fn truncate_log(&self) -> Result<bool, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::TruncateLog(answer)).await?;
        self.unless_locked(async { answered.await.map_err(|_| StoreError::Closed)? }).await
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        let sending = async { self.queue.send(request).await.map_err(|_| StoreError::Closed) };
        self.unless_locked(sending)
            .await
            .inspect_err(|error| {
                if let StoreError::Locked { .. } = error {
                    self.state.dropped.fetch_add(1, Ordering::Relaxed);
                }
            })
            .map_err(|error| match error {
                StoreError::Locked { .. } => StoreError::Locked { is_queued: false },
                error => error,
            })
    }

    /// Waits for work that waits for the thread, but not for longer than another program may lock the file.
    pub(crate) async fn unless_locked<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.state.locked_too_long() => Err(StoreError::Locked { is_queued: true }),
        }
    }

    /// True while another program locks the file, since more than the busy timeout.
    pub(crate) fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    /// The number of writes that found no place in the queue.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is queued, closes all connections, and ends the thread. Blocks.
    pub(crate) fn close(&self) {
        self.state.is_closing.store(true, Ordering::Release);
        let (wake, _) = job(|_| Ok(()));
        // If the queue is full, the thread is awake.
        drop(self.queue.try_send(Request::Write(wake)));
        if let Some(thread) = unpoisoned(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the database panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl WriterState {
    fn is_locked(&self) -> bool {
        self.locked_since.borrow().is_some_and(|since| since.elapsed() >= self.timeout)
    }

    /// Returns when another program has locked the file for the busy timeout.
    async fn locked_too_long(&self) {
        let mut locked = self.locked_since.subscribe();
        loop {
            // The sender lives as long as `self`, so this does not fail.
            let since = locked.wait_for(Option::is_some).await.ok().and_then(|since| *since);
            let Some(since) = since else { return std::future::pending().await };
            tokio::select! {
                () = tokio::time::sleep_until(since + self.timeout) => return,
                _ = locked.wait_for(Option::is_none) => {}
            }
        }
    }

    /// Records that another program locks the file. Returns whether to wait for it.
    fn note_lock(&self) -> bool {
        let is_new =
            self.locked_since.send_if_modified(|since| since.is_none() && since.replace(Instant::now()).is_none());
        if is_new {
            tracing::warn!("another program locks the database; writes wait until it releases the lock");
        }
        !(self.is_closing.load(Ordering::Acquire) && self.is_locked())
    }

    fn note_unlock(&self) {
        if self.locked_since.send_if_modified(|since| since.take().is_some()) {
            tracing::info!("the database is not locked by another program any more");
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

fn write_all(connection: Connection, mut source: Source, mut requests: mpsc::Receiver<Request>, state: &WriterState) {
    let mut open = Some(connection);
    while let Some(first) = requests.blocking_recv() {
        let waiting = std::iter::from_fn(|| requests.try_recv().ok()).take(MAX_PER_COMMIT);
        // Collected, because a job that comes later must not get the error of an earlier one.
        let (mut jobs, mut truncations) = (Vec::new(), Vec::new());
        for request in std::iter::once(first).chain(waiting) {
            match request {
                Request::Write(job) => jobs.push(job),
                Request::TruncateLog(answer) => truncations.push(answer),
            }
        }
        write_jobs(&mut source, &mut open, jobs, state);
        if let Some(connection) = &open {
            source.checkpoint_if_long(connection);
        }
        if !truncations.is_empty() {
            let truncated = source.truncate_log(&mut open);
            for answer in truncations {
                // The caller may have gone away.
                drop(answer.send(truncated.clone()));
            }
        }
        if state.is_closing.load(Ordering::Acquire) {
            requests.close();
        }
    }
    source.close(open);
}

/// Writes a group of jobs, and waits while another program locks the file.
fn write_jobs(source: &mut Source, open: &mut Option<Connection>, jobs: Vec<Job>, state: &WriterState) {
    let mut jobs = jobs.into_iter().peekable();
    while jobs.peek().is_some() {
        match source.current(open).and_then(|connection| write_group(connection, &mut jobs)) {
            Ok(written) => {
                // Before the answers, because a caller may change the file when it has one.
                source.accept_log();
                written.answer();
                state.note_unlock();
            }
            Err(StoreError::Busy(_)) if state.note_lock() => {}
            Err(error) => refuse(&mut jobs, &error),
        }
    }
}

/// Answers all jobs with the error.
fn refuse(jobs: &mut impl Iterator<Item = Job>, error: &StoreError) {
    for job in jobs {
        (job(Err(error.clone())).answer)(Ok(()));
    }
}

/// Runs the jobs in one transaction. If one makes SQLite roll back, the rest stays in `jobs`. An error means that no
/// transaction could begin.
fn write_group(connection: &mut Connection, jobs: &mut impl Iterator<Item = Job>) -> Result<WrittenGroup, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
    Ok(WrittenGroup { jobs: group, committed })
}

impl WrittenGroup {
    fn answer(self) {
        for pending in self.jobs {
            (pending.answer)(self.committed.clone());
        }
    }
}

#[cfg(test)]
mod tests;
