use super::*;

fn writer(pragmas: &str) -> (Writer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("test.db")).unwrap();
    connection.execute_batch(&format!("PRAGMA journal_mode = wal; CREATE TABLE t (x ANY) STRICT; {pragmas}")).unwrap();
    (Writer::start(connection).unwrap(), folder)
}

fn insert(value: impl Into<Vec<u8>>) -> impl FnOnce(&Connection) -> Result<usize, StoreError> + Send + 'static {
    let value = value.into();
    move |connection| Ok(connection.execute("INSERT INTO t VALUES (?1)", [value])?)
}

fn count(folder: &tempfile::TempDir) -> i64 {
    let connection = Connection::open(folder.path().join("test.db")).unwrap();
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// Keeps the thread busy until it is told to go on, so that what comes meanwhile is one group.
async fn hold(writer: &Writer) -> std::sync::mpsc::Sender<()> {
    let (go_on, told) = std::sync::mpsc::channel();
    let (job, _) = job(move |_| told.recv().map_err(|_| StoreError::Closed));
    writer.queue.as_ref().unwrap().send(job).await.unwrap();
    go_on
}

#[tokio::test]
async fn a_job_that_fails_undoes_its_own_work_and_not_that_of_its_group() {
    let (writer, folder) = writer("");
    let go_on = hold(&writer).await;
    let half = writer.write(|connection| {
        connection.execute("INSERT INTO t VALUES (1)", [])?;
        Err::<(), _>(StoreError::Closed)
    });
    let (one, half, two, ()) =
        tokio::join!(writer.write(insert("1")), half, writer.write(insert("2")), async { go_on.send(()).unwrap() });
    assert!(one.is_ok() && half.is_err() && two.is_ok());
    assert_eq!(count(&folder), 2);
}

#[tokio::test]
async fn a_full_disk_fails_whoever_shares_the_transaction_and_nobody_else() {
    let (writer, folder) = writer("PRAGMA max_page_count = 20");
    let go_on = hold(&writer).await;
    let (one, large, two, ()) = tokio::join!(
        writer.write(insert("1")),
        writer.write(insert(vec![0; 1_000_000])),
        writer.write(insert("2")),
        async { go_on.send(()).unwrap() },
    );
    assert!(matches!(large, Err(StoreError::Full(_))), "{large:?}");
    let kept = [one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count();
    assert_eq!(count(&folder), i64::try_from(kept).unwrap(), "what was said to be kept is, and nothing else");
    assert!(two.is_ok(), "there is room for it");
    assert!(writer.write(insert("3")).await.is_ok(), "and the thread goes on");
}

#[tokio::test]
async fn what_is_queued_is_written_before_the_thread_ends() {
    let (writer, folder) = writer("");
    let go_on = hold(&writer).await;
    for _ in 0..10 {
        let (job, _) = job(insert("x"));
        writer.queue.as_ref().unwrap().send(job).await.unwrap();
    }
    go_on.send(()).unwrap();
    drop(writer);
    assert_eq!(count(&folder), 10);
}

#[tokio::test]
async fn what_was_begun_is_written_although_nobody_waits_for_it() {
    let (writer, folder) = writer("");
    let go_on = hold(&writer).await;
    let mut write = Box::pin(writer.write(insert("x")));
    tokio::select! {
        biased;
        _ = &mut write => panic!("it cannot be done yet"),
        () = std::future::ready(()) => {}
    }
    drop(write);
    go_on.send(()).unwrap();
    drop(writer);
    assert_eq!(count(&folder), 1);
}
