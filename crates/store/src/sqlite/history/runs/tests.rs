use brigade_core::{Event, Observer, Run};

use super::*;
use crate::History;

#[tokio::test]
async fn a_month_begins_on_its_first_day() {
    let connection = Connection::open_in_memory().unwrap();
    let first = |window, day| first_day(&connection, window, day).unwrap();
    // 2024-02-29 is day 19782, 2024-03-01 the next; 2026-01-01 is day 20454.
    assert_eq!(first(Window::Month, 19_782), 19_754);
    assert_eq!(first(Window::Month, 19_783), 19_783);
    assert_eq!(first(Window::Month, 20_484), 20_454);
    assert_eq!(first(Window::Day, 20_484), 20_484);
    assert!(first(Window::Total, 20_484) < 0);
}

#[tokio::test]
async fn lists_of_runs_read_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path().join("test.db")).unwrap();
    let conditions = [
        "depth = 0",
        "depth = 0 AND account = 'a'",
        "depth = 0 AND agent = 'a'",
        "depth = 0 AND run < x'09'",
        "depth = 0 AND session = 'a'",
        "depth = 0 AND outcome IS NULL",
        "depth = 0 AND outcome = 'failed'",
    ];
    for condition in conditions {
        let sql =
            format!("EXPLAIN QUERY PLAN SELECT {RUN_COLUMNS} FROM runs WHERE {condition} ORDER BY run DESC LIMIT 9");
        let plan = move |connection: &Connection| {
            let mut select = connection.prepare(&sql)?;
            let lines = select.query_map([], |row| row.get::<_, String>(3))?;
            Ok(lines.collect::<Result<Vec<_>, _>>()?.join("; "))
        };
        let plan = database.read(plan).await.unwrap();
        assert!(plan.contains("SEARCH runs USING INDEX") && !plan.contains("TEMP B-TREE"), "{condition}: {plan}");
    }
}

#[tokio::test]
async fn others_look_at_the_history_while_it_is_written_and_when_nobody_has_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let missing = Runs::open(&path).unwrap_err();
    assert!(matches!(missing, StoreError::Open { .. }) && !path.exists(), "{missing:?}");
    let history = History::start(Database::open(&path).unwrap(), |_| None).await.unwrap();
    let others = Runs::open(&path).unwrap();
    for count in 1..=3 {
        history.on_event(&Run::new(), &Event::RunStarted);
        history.flush().await.unwrap();
        assert_eq!(others.list(RunFilter::default()).await.unwrap().len(), count);
    }
    drop((history, others));
    assert_eq!(Runs::open(&path).unwrap().list(RunFilter::default()).await.unwrap().len(), 3);
}
