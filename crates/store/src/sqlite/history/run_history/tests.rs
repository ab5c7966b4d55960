use brigade_core::{Event, Observer, Run};

use super::*;
use crate::History;

#[test]
fn a_month_starts_on_its_first_day() {
    let first = |window, day: &str| first_day(window, day.parse().unwrap()).map(|day| day.to_string());
    assert_eq!(first(Window::Month, "2024-02-29").unwrap(), "2024-02-01");
    assert_eq!(first(Window::Month, "2024-03-01").unwrap(), "2024-03-01");
    assert_eq!(first(Window::Day, "2026-01-31").unwrap(), "2026-01-31");
    assert_eq!(first(Window::Total, "2026-01-31"), None);
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
        "depth = 0 AND user = 'a'",
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
async fn the_history_can_be_read_during_and_after_writes_by_another_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let missing = RunHistory::open(&path).unwrap_err();
    assert!(matches!(missing, StoreError::Open { .. }) && !path.exists(), "{missing:?}");
    let history = History::start(Database::open(&path).unwrap(), Event::clone).await.unwrap();
    let others = RunHistory::open(&path).unwrap();
    for count in 1..=3 {
        history.on_event(&Run::new(), &Event::RunStarted);
        history.flush().await.unwrap();
        assert_eq!(others.list(RunFilter::default()).await.unwrap().len(), count);
    }
    drop((history, others));
    assert_eq!(RunHistory::open(&path).unwrap().list(RunFilter::default()).await.unwrap().len(), 3);
}
