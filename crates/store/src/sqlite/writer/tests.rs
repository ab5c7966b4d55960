use super::*;
use crate::{
    DatabaseSettings,
    sqlite::{file::DatabaseFile, readers::Readers},
};

fn writer(pragmas: &str) -> (Writer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (path, settings) = (folder.path().join("test.db"), DatabaseSettings::default());
    let file = DatabaseFile::open(&path).unwrap();
    let readers = Readers::new(&path, &settings, file.handle());
    let (source, connection) = Source::open(file, &settings, &readers, &Arc::default()).unwrap();
    connection.execute_batch(&format!("CREATE TABLE t (x ANY) STRICT; {pragmas}")).unwrap();
    (Writer::start(connection, source, settings.busy_timeout).unwrap(), folder)
}

fn insert(value: impl Into<Vec<u8>>) -> impl FnOnce(&Connection) -> Result<usize, StoreError> + Send + 'static {
    let value = value.into();
    move |connection| Ok(connection.execute("INSERT INTO t VALUES (?1)", [value])?)
}

fn count(folder: &tempfile::TempDir) -> i64 {
    let connection = Connection::open(folder.path().join("test.db")).unwrap();
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// Blocks the thread until the returned sender is used or dropped, so that jobs queued meanwhile form one group.
async fn hold(writer: &Writer) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel();
    let (job, _) = job(move |_| released.recv().map_err(|_| StoreError::Closed));
    writer.queue.send(Request::Write(job)).await.unwrap();
    release
}

#[tokio::test]
async fn a_failed_job_rolls_back_only_itself() {
    let (writer, folder) = writer("");
    let release = hold(&writer).await;
    let half = writer.write(|connection| {
        connection.execute("INSERT INTO t VALUES (1)", [])?;
        Err::<(), _>(StoreError::Closed)
    });
    let (one, half, two, ()) =
        tokio::join!(writer.write(insert("1")), half, writer.write(insert("2")), async { release.send(()).unwrap() });
    assert!(one.is_ok() && half.is_err() && two.is_ok());
    assert_eq!(count(&folder), 2);
}

#[tokio::test]
async fn a_full_disk_fails_the_jobs_of_its_transaction_only() {
    let (writer, folder) = writer("PRAGMA max_page_count = 80");
    let release = hold(&writer).await;
    let (one, large, two, ()) = tokio::join!(
        writer.write(insert("1")),
        writer.write(insert(vec![0; 1_000_000])),
        writer.write(insert("2")),
        async { release.send(()).unwrap() },
    );
    assert!(matches!(large, Err(StoreError::Full(_))), "{large:?}");
    let kept = [one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count();
    assert_eq!(count(&folder), i64::try_from(kept).unwrap(), "exactly the acknowledged rows are stored");
    assert!(two.is_ok(), "there is room for it");
    assert!(writer.write(insert("3")).await.is_ok(), "and the thread goes on");
}

#[tokio::test]
async fn queued_jobs_are_written_before_the_thread_ends() {
    let (writer, folder) = writer("");
    let release = hold(&writer).await;
    for _ in 0..10 {
        let (job, _) = job(insert("x"));
        writer.queue.send(Request::Write(job)).await.unwrap();
    }
    release.send(()).unwrap();
    drop(writer);
    assert_eq!(count(&folder), 10);
}

#[tokio::test]
async fn a_job_is_written_even_if_its_caller_is_gone() {
    let (writer, folder) = writer("");
    let release = hold(&writer).await;
    let mut write = Box::pin(writer.write(insert("x")));
    tokio::select! {
        biased;
        _ = &mut write => panic!("it cannot be done yet"),
        () = std::future::ready(()) => {}
    }
    drop(write);
    release.send(()).unwrap();
    drop(writer);
    assert_eq!(count(&folder), 1);
}
