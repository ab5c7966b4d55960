use super::*;

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
    for condition in ["depth = 0", "depth = 0 AND account = 'a'", "depth = 0 AND agent = 'a'", "depth = 0 AND id < 9"] {
        let sql =
            format!("EXPLAIN QUERY PLAN SELECT {RUN_COLUMNS} FROM runs WHERE {condition} ORDER BY id DESC LIMIT 9");
        let plan = move |connection: &Connection| {
            let mut select = connection.prepare(&sql)?;
            let lines = select.query_map([], |row| row.get::<_, String>(3))?;
            Ok(lines.collect::<Result<Vec<_>, _>>()?.join("; "))
        };
        let plan = database.read(plan).await.unwrap();
        assert!(plan.contains("SEARCH runs USING INDEX") && !plan.contains("TEMP B-TREE"), "{condition}: {plan}");
    }
}
