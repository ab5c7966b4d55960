use brigade_core::{
    Agent, Budget, Event, ModelExt, ModelId, PriceCeiling, Pricing, Rates, RunError, ServedCall, Settings, Task, Usage,
    Window, Worker,
    testing::{ScriptedModel, Turn},
};
use rusqlite::Connection;
use serde_json::json;

use super::*;
use crate::{DatabaseSettings, RunFilter, RunStatus, UsageBy, UsageFilter};

/// Every call costs a tenth of a cent.
#[derive(Debug, Clone)]
struct FixedPrice;

const PRICE: Money = Money::from_nano(1_000_000);

impl Pricing for FixedPrice {
    fn ceiling(&self, _: &ModelId, _: &Settings, _: u64) -> Option<PriceCeiling> {
        Some(PriceCeiling::new(Rates::default().call(PRICE)).max_output_tokens(Some(100)))
    }
    fn cost(&self, _: &ServedCall<'_>, _: &Usage) -> Option<Money> {
        Some(PRICE)
    }
}

/// The events of a trace in words; those of attempts are left out.
fn in_words(events: &[EventRecord]) -> Vec<String> {
    let words = |record: &EventRecord| {
        let event = match &record.event {
            Event::RunStarted => "run started".to_owned(),
            Event::RunEnded { .. } => "run ended".to_owned(),
            Event::TurnStarted { turn, .. } => format!("turn {turn}"),
            Event::ToolStarted { tool, .. } => format!("tool {tool}"),
            _ => return None,
        };
        Some(format!("{} {event}", record.agent))
    };
    events.iter().filter_map(words).collect()
}

fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    (folder, path)
}

async fn start(path: &std::path::Path) -> History {
    History::start(Database::open(path).unwrap(), Event::clone).await.unwrap()
}

fn clerk() -> Agent {
    Agent::new("clerk", ScriptedModel::new([Turn::text("Done.")]).metered(&FixedPrice))
}

async fn work(observer: Arc<dyn Observer>) -> Run {
    let run = Run::builder().observer(observer).build();
    clerk().run_in(&run, "Go.").await.unwrap();
    run
}

/// A run whose model never answers.
async fn start_call(observer: Arc<dyn Observer>) -> Run {
    let model = ScriptedModel::new([Turn::text("Late.").after(Duration::from_hours(1))]).metered(&FixedPrice);
    let run = Run::builder().observer(observer).build();
    let agent = Agent::new("slow", model);
    let mut call = Box::pin(agent.run_in(&run, "Go."));
    tokio::select! {
        biased;
        _ = &mut call => panic!("the model does not answer"),
        () = async { while run.ledger().outstanding() == 0 { tokio::task::yield_now().await } } => {}
    }
    // Like a process that dies: nothing is settled.
    std::mem::forget(call);
    run
}

#[tokio::test]
async fn a_run_is_stored_with_its_workers_events_cost_and_outcome() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let script = [Turn::call("c1", "critic", json!({"task": "Look."})), Turn::text("All good.")];
    let critic = Agent::new("critic", ScriptedModel::named("small", [Turn::text("Fine.")]).metered(&FixedPrice));
    let desk =
        Agent::new("desk", ScriptedModel::named("large", script).metered(&FixedPrice)).worker(Worker::new(critic));
    let run = Run::builder().observer(history.of_account("ada")).build();
    desk.run_in(&run, "Check it.").await.unwrap();
    history.flush().await.unwrap();

    let listed = history.runs().list(RunFilter::default()).await.unwrap();
    let [desk] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((desk.agent.as_str(), desk.account.as_str(), desk.depth), ("desk", "ada", 0));
    assert_eq!(
        (desk.outcome.as_deref(), desk.turns, desk.usage),
        (Some("finished"), Some(2), Some(Usage::new(300, 30)))
    );
    assert_eq!((desk.cost, desk.run), (Some(PRICE.times(3)), run.id()));

    let short = run.trace().short();
    let trace = history.runs().trace(&short).await.unwrap().unwrap();
    assert_eq!(trace.runs.iter().map(|run| run.agent.as_str()).collect::<Vec<_>>(), ["desk", "desk/critic"]);
    let expected = [
        "desk run started",
        "desk turn 1",
        "desk tool critic",
        "desk/critic run started",
        "desk/critic turn 1",
        "desk/critic run ended",
        "desk turn 2",
        "desk run ended",
    ];
    assert_eq!(in_words(&trace.events), expected);
    let costs: Vec<_> = trace.costs.iter().map(|cost| (&*cost.agent, &*cost.model, cost.spending.charged)).collect();
    assert_eq!(costs, [("desk", "scripted/large", PRICE.times(2)), ("desk/critic", "scripted/small", PRICE)]);
    let by_id = history.runs().trace(&trace.runs[1].run.to_string()).await.unwrap().unwrap();
    assert_eq!(by_id, trace, "a run is also found by its id");
    assert_eq!(history.runs().find(run.id(), None).await.unwrap().as_ref(), trace.runs.first());
    assert!(history.runs().trace("").await.unwrap().is_none(), "the empty id is not valid");
    assert!(history.runs().trace("ffffffff").await.unwrap().is_none());
    assert_eq!(history.lost(), 0);
}

#[tokio::test]
async fn a_failed_run_is_stored_with_the_kind_of_its_error() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let run = Run::builder().observer(Arc::new(history.clone())).build();
    let critic = Agent::new("critic", ScriptedModel::new([Turn::text("Fine.")]).metered(&FixedPrice));
    let model = ScriptedModel::new([Turn::call("c1", "critic", json!({"task": "Look."}))]).metered(&FixedPrice);
    let agent = Agent::new("desk", model).worker(Worker::new(critic));
    let _: RunError = agent.run_in(&run, Task::from("Go.")).await.unwrap_err();
    history.flush().await.unwrap();
    let listed = history.runs().list(RunFilter::default()).await.unwrap();
    assert_eq!((listed[0].outcome.as_deref(), listed[0].error.as_deref()), (Some("failed"), Some("caller")));
    assert_eq!(
        (listed[0].cost, listed[0].usage),
        (Some(PRICE.times(2)), Some(Usage::new(200, 20))),
        "the cost up to the failure"
    );
}

#[tokio::test]
async fn a_flush_waits_for_all_earlier_events() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    for round in 1..=3 {
        for _ in 0..3_000 {
            history.on_event(&Run::new(), &Event::RunStarted);
        }
        history.flush().await.unwrap();
        let all = RunFilter { limit: u32::MAX, ..RunFilter::default() };
        assert_eq!(history.runs().list(all).await.unwrap().len(), round * 3_000);
    }
}

#[tokio::test]
async fn dropping_the_history_writes_the_rest() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    for _ in 0..20 {
        work(Arc::new(history.clone())).await;
    }
    drop(history);
    let history = start(&path).await;
    assert_eq!(history.interrupted(), InterruptedWork::default());
    let finished = RunFilter { status: Some(RunStatus::Ended), ..RunFilter::default() };
    assert_eq!(history.runs().list(finished).await.unwrap().len(), 20);
}

#[tokio::test]
async fn spending_of_a_key_still_counts_after_a_restart() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    for account in ["ada", "ada", "bob"] {
        work(history.of_account(account)).await;
    }
    drop(history);

    let history = start(&path).await;
    let budget = Budget::unlimited().money(PRICE.times(3)).per(Window::Day);
    let (process, ada) = (Ledger::root("process", budget.clone()), Ledger::root("ada", budget));
    history.restore(&process, None).await.unwrap();
    history.restore(&ada, Some("ada")).await.unwrap();
    assert_eq!((process.spent_in_window(), ada.spent_in_window()), (PRICE.times(3), PRICE.times(2)));
    assert_eq!(ada.spending().usage, Usage::new(200, 20));

    let run = Run::builder().account(process).build();
    let outcome = clerk().run_in(&run, "Go.").await;
    assert!(outcome.is_err() || !outcome.unwrap().is_finished(), "the budget of the process is used up");
}

#[tokio::test]
async fn an_interrupted_call_counts_as_uncertain_and_its_run_as_interrupted() {
    let (folder, path) = folder();
    let history = start(&path).await;
    work(history.of_account("ada")).await;
    let run = start_call(history.of_account("ada")).await;
    history.flush().await.unwrap();
    // The file as a crash would leave it.
    let copy = folder.path().join("copy.db");
    for end in ["", "-wal"] {
        let [from, to] = [&path, &copy].map(|path| format!("{}{end}", path.display()));
        std::fs::copy(from, to).unwrap();
    }

    let after = start(&copy).await;
    let expected = InterruptedWork { runs: 1, calls: 1, uncertain: run.ledger().reserved() };
    assert_eq!(after.interrupted(), expected);
    let spent = after.runs().spent_in_window(Window::Total, Some("ada")).await.unwrap();
    assert_eq!((spent.charged, spent.uncertain, spent.calls), (PRICE, PRICE, 2));
    let interrupted = RunFilter { status: Some(RunStatus::Interrupted), ..RunFilter::default() };
    assert_eq!(after.runs().list(interrupted).await.unwrap()[0].run, run.id());
    drop(after);
    assert_eq!(start(&copy).await.interrupted(), InterruptedWork::default(), "it is counted once");
}

#[tokio::test]
async fn an_interrupted_run_has_the_cost_of_its_workers_and_of_its_open_call() {
    let (folder, path) = folder();
    let history = start(&path).await;
    let script =
        [Turn::call("c1", "critic", json!({"task": "Look."})), Turn::text("Late.").after(Duration::from_hours(1))];
    let critic = Agent::new("critic", ScriptedModel::new([Turn::text("Fine.")]).metered(&FixedPrice));
    let desk = Agent::new("desk", ScriptedModel::new(script).metered(&FixedPrice)).worker(Worker::new(critic));
    let run = Run::builder().observer(history.of_account("ada")).build();
    let mut work = Box::pin(desk.run_in(&run, "Check it."));
    let is_last_call = || run.ledger().spending().calls == 2 && run.ledger().outstanding() == 1;
    tokio::select! {
        biased;
        _ = &mut work => panic!("the model does not answer"),
        () = async { while !is_last_call() { tokio::task::yield_now().await } } => {}
    }
    history.flush().await.unwrap();
    let copy = folder.path().join("copy.db");
    Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();

    let after = start(&copy).await;
    let stored = after.runs().find(run.id(), Some("ada")).await.unwrap().unwrap();
    assert_eq!((stored.outcome.as_deref(), stored.cost), (Some("interrupted"), Some(PRICE.times(3))));
    assert!(stored.usage.is_some_and(|usage| usage.input_tokens > 0 && usage.output_tokens > 0), "{stored:?}");
    let trace = after.runs().trace(&run.trace().to_string()).await.unwrap().unwrap();
    let costs: Vec<_> = trace.costs.iter().map(|cost| (&*cost.agent, cost.spending.total())).collect();
    assert_eq!(costs, [("desk", PRICE.times(2)), ("desk/critic", PRICE)]);
}

#[tokio::test]
async fn the_cost_of_a_run_is_stored_even_if_its_events_are_lost() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    let history = History::start(database.clone(), Event::clone).await.unwrap();
    database.write(|connection| Ok(connection.execute_batch("ALTER TABLE events RENAME TO away")?)).await.unwrap();
    let run = work(history.of_account("ada")).await;
    assert!(history.flush().await.is_err());
    let trace = history.runs().find(run.id(), Some("ada")).await.unwrap().unwrap();
    assert_eq!(trace.agent, "clerk");
    let costs = "SELECT sum(charged_nano) FROM run_costs JOIN runs ON runs.id = run_costs.run WHERE account = 'ada'";
    let charged =
        database.read(move |connection| Ok(connection.query_row(costs, [], |row| row.get::<_, i64>(0))?)).await;
    assert_eq!(Money::from_nano(charged.unwrap()), PRICE);
}

#[tokio::test]
async fn the_events_of_a_request_have_the_numbers_of_its_recorder() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let script = [Turn::call("c1", "critic", json!({"task": "Look."})), Turn::text("All good.")];
    let critic = Agent::new("critic", ScriptedModel::new([Turn::text("Fine.")]).metered(&FixedPrice));
    let desk = Agent::new("desk", ScriptedModel::new(script).metered(&FixedPrice)).worker(Worker::new(critic));
    // Two requests with the same trace, at the same time.
    let (first, second) = (Run::builder().observer(history.of_account("ada")), Run::builder());
    let first = first.build();
    let second = second.trace(first.trace()).observer(history.of_account("ada")).build();
    let clerk = clerk();
    tokio::try_join!(desk.run_in(&first, "Check it."), clerk.run_in(&second, "Go.")).unwrap();
    history.flush().await.unwrap();
    let events = history.runs().events(first.id(), 0).await.unwrap();
    assert!(events.iter().map(|event| event.number).eq(1..=events.len() as u64), "{events:?}");
    assert!(events.iter().any(|event| &*event.record.agent == "desk/critic"));
    assert!(matches!(events.last().unwrap().record.event, Event::RunEnded { .. }));
    let rest = history.runs().events(first.id(), 3).await.unwrap();
    assert_eq!(rest, events[3..]);
    assert_eq!(history.runs().events(first.id(), 99).await.unwrap(), []);
}

#[tokio::test]
async fn a_dropped_call_is_settled_and_leaves_no_reservation() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let model = ScriptedModel::new([Turn::text("Late.").after(Duration::from_hours(1))]).metered(&FixedPrice);
    let run = Run::builder().observer(history.of_account("ada")).build();
    let agent = Agent::new("slow", model);
    {
        let mut call = Box::pin(agent.run_in(&run, "Go."));
        tokio::select! {
            biased;
            _ = &mut call => panic!("the model does not answer"),
            () = async { while run.ledger().outstanding() == 0 { tokio::task::yield_now().await } } => {}
        }
    }
    drop(run);
    drop(agent);
    drop(history);
    let history = start(&path).await;
    assert_eq!(history.interrupted(), InterruptedWork::default());
    let spent = history.runs().spent_in_window(Window::Total, None).await.unwrap();
    assert_eq!((spent.calls, spent.uncertain), (1, PRICE));
}

#[tokio::test]
async fn usage_is_grouped_by_day_account_agent_and_model() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    for account in ["ada", "ada", "bob"] {
        work(history.of_account(account)).await;
    }
    history.flush().await.unwrap();
    let runs = history.runs();
    let by = [UsageBy::Day, UsageBy::Account, UsageBy::Agent, UsageBy::Model];
    let lines = runs.usage(UsageFilter::default(), &by).await.unwrap();
    let today = crate::sqlite::database::today().to_string();
    assert_eq!(lines[0].group, [today.as_str(), "ada", "clerk", "scripted/model"]);
    assert_eq!((lines[0].spending.charged, lines[0].spending.calls), (PRICE.times(2), 2));
    assert_eq!(lines[0].spending.usage.cache_read_tokens, None, "a count that no provider reported is absent");
    assert_eq!(lines.len(), 2);
    let bobs = UsageFilter { account: Some("bob".to_owned()), ..UsageFilter::default() };
    assert_eq!(runs.usage(bobs, &[UsageBy::Model]).await.unwrap()[0].spending.calls, 1);
    let day_before = crate::sqlite::database::today().yesterday().unwrap();
    let yesterday = UsageFilter { until_day: Some(day_before), ..UsageFilter::default() };
    assert_eq!(runs.usage(yesterday, &[UsageBy::Model]).await.unwrap(), []);
}

#[tokio::test]
async fn usage_is_read_in_pages_and_calls_of_workers_count_for_the_agent_at_the_top() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let script = || [Turn::call("c1", "critic", json!({"task": "Look."})), Turn::text("All good.")];
    for account in ["ada", "bob", "eve"] {
        let critic = Agent::new("critic", ScriptedModel::new([Turn::text("Fine.")]).metered(&FixedPrice));
        let desk = Agent::new("desk", ScriptedModel::new(script()).metered(&FixedPrice)).worker(Worker::new(critic));
        let run = Run::builder().observer(history.of_account(account)).build();
        desk.run_in(&run, "Check it.").await.unwrap();
    }
    history.flush().await.unwrap();
    let page = async |offset, limit| {
        let mut filter = UsageFilter::default();
        (filter.offset, filter.limit) = (offset, limit);
        let rows = history.runs().usage(filter, &[UsageBy::Account, UsageBy::TopAgent]).await.unwrap();
        rows.into_iter().map(|row| (row.group.join(" "), row.spending.calls)).collect::<Vec<_>>()
    };
    let [ada, bob, eve] = ["ada desk", "bob desk", "eve desk"].map(|group| (group.to_owned(), 3));
    assert_eq!(page(0, 2).await, [ada.clone(), bob.clone()]);
    assert_eq!(page(2, 2).await, std::slice::from_ref(&eve));
    assert_eq!(page(0, u32::MAX).await, [ada, bob, eve]);
    assert_eq!(page(u32::MAX, 2).await, []);
}

#[tokio::test]
async fn runs_are_found_by_session() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    for session in [Some("one"), None, Some("two"), Some("one")] {
        work(history.of_session("ada", session.map(Arc::from))).await;
    }
    history.flush().await.unwrap();
    let one = RunFilter { session: Some("one".to_owned()), ..RunFilter::default() };
    let listed = history.runs().list(one).await.unwrap();
    assert_eq!(listed.iter().filter(|run| run.session.as_deref() == Some("one")).count(), 2);
    assert_eq!(listed.len(), 2);
}

#[tokio::test]
async fn usage_of_an_agent_includes_its_workers() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let script = [Turn::call("c1", "critic", json!({"task": "Look."})), Turn::text("All good.")];
    let critic = Agent::new("critic", ScriptedModel::new([Turn::text("Fine.")]).metered(&FixedPrice));
    let desk = Agent::new("desk", ScriptedModel::new(script).metered(&FixedPrice)).worker(Worker::new(critic));
    let run = Run::builder().observer(history.of_account("ada")).build();
    desk.run_in(&run, "Check it.").await.unwrap();
    history.flush().await.unwrap();
    for (agent, calls) in [("desk", 3), ("desk/critic", 1), ("des", 0)] {
        let filter = UsageFilter { agent: Some(agent.to_owned()), ..UsageFilter::default() };
        assert_eq!(history.runs().usage(filter, &[]).await.unwrap()[0].spending.calls, calls, "{agent}");
    }
}

#[tokio::test]
async fn runs_are_listed_in_pages_and_filtered() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let mut ids = Vec::new();
    for number in 0..7 {
        ids.push(work(history.of_account(format!("key {}", number % 2))).await.id());
    }
    history.flush().await.unwrap();
    ids.reverse();
    let (mut filter, mut listed) = (RunFilter { limit: 3, ..RunFilter::default() }, Vec::new());
    loop {
        let page = history.runs().list(filter.clone()).await.unwrap();
        listed.extend(page.iter().map(|run| run.run));
        filter.before = page.last().map(|run| run.run);
        if filter.before.is_none() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let keys = RunFilter { account: Some("key 0".to_owned()), agent: Some("clerk".to_owned()), ..RunFilter::default() };
    assert_eq!(history.runs().list(keys).await.unwrap().len(), 4);
    let running = RunFilter { status: Some(RunStatus::Running), ..RunFilter::default() };
    assert!(history.runs().list(running).await.unwrap().is_empty());
    let future = RunFilter { since_us: Some(i64::MAX), ..RunFilter::default() };
    assert!(history.runs().list(future).await.unwrap().is_empty());
}

#[tokio::test]
async fn old_events_are_deleted_before_old_runs_and_spending_stays() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    for _ in 0..3 {
        work(Arc::new(history.clone())).await;
    }
    drop(history);
    let aged = |connection: &Connection| {
        let hours = |count: i64| crate::sqlite::database::now_us() - count * 3_600_000_000;
        connection.execute("UPDATE runs SET started_us = ?1 WHERE id = (SELECT min(id) FROM runs)", [hours(50)])?;
        connection.execute(
            "UPDATE runs SET started_us = ?1 WHERE id = (SELECT id FROM runs ORDER BY id LIMIT 1 OFFSET 1)",
            [hours(30)],
        )?;
        Ok(())
    };
    let database = Database::open(&path).unwrap();
    database.write(aged).await.unwrap();
    let hours = Duration::from_hours;
    let settings = HistorySettings { keep_events: hours(24), keep_runs: hours(48), ..HistorySettings::default() };
    // It sweeps at the start, and dropping it waits for the sweep.
    drop(History::start_with(database.clone(), Event::clone, settings).await.unwrap());
    let count = |sql: &'static str| {
        database.read(move |connection| Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))?))
    };
    assert_eq!(count("SELECT count(*) FROM runs").await.unwrap(), 2);
    assert_eq!(count("SELECT count(DISTINCT run) FROM events").await.unwrap(), 1);
    assert_eq!(count("SELECT count(*) FROM run_costs").await.unwrap(), 2);
    let spent = crate::RunHistory::new(&database).spent_in_window(Window::Total, None).await.unwrap();
    assert_eq!(spent.charged, PRICE.times(3));
}

#[tokio::test]
async fn a_full_disk_loses_events_but_no_spending() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings { max_bytes: Some(300 * 1_024), ..DatabaseSettings::default() };
    let database = Database::open_with(&path, &settings).unwrap();
    let enlarge = |event: &Event| match event {
        Event::RunStarted => Event::UnknownTool { name: "x".repeat(50_000).into() },
        other => other.clone(),
    };
    let history = History::start(database.clone(), enlarge).await.unwrap();
    let mut calls = 0;
    let error = loop {
        // Answers do not wait for a full disk.
        let model = history.write_barrier(ScriptedModel::new([Turn::text("Done.")])).metered(&FixedPrice);
        let run = Run::builder().observer(history.of_account("ada")).build();
        Agent::new("clerk", model).run_in(&run, "Go.").await.unwrap();
        calls += 1;
        if let Err(error) = history.flush().await {
            break error;
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(history.lost() > 0);
    database.write(|connection| Ok(connection.execute("DELETE FROM events", [])?)).await.unwrap();
    history.flush().await.unwrap();
    let spent = history.runs().spent_in_window(Window::Total, Some("ada")).await.unwrap();
    assert_eq!((spent.calls, spent.charged), (calls, PRICE.times(calls)));
}

/// What a new process finds that all accounts have spent.
async fn spent_after_restart(path: &std::path::Path) -> brigade_core::Spending {
    start(path).await.runs().spent_in_window(Window::Total, None).await.unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn spending_is_kept_while_the_file_is_missing_and_written_to_the_next_one() {
    for is_copy in [false, true] {
        let (folder, path) = folder();
        let history = start(&path).await;
        work(history.of_account("ada")).await;
        history.flush().await.unwrap();
        let copy = folder.path().join("copy.db");
        Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();

        std::fs::remove_file(&path).unwrap();
        work(history.of_account("ada")).await;
        let error = history.flush().await.unwrap_err();
        assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
        assert!(history.check().await.is_err());

        if is_copy {
            std::fs::rename(&copy, &path).unwrap();
        } else {
            std::fs::File::create(&path).unwrap();
        }
        history.flush().await.unwrap();
        history.check().await.unwrap();
        work(history.of_account("ada")).await;
        drop(history);
        let spent = spent_after_restart(&path).await;
        assert_eq!((spent.calls, spent.total()), (3, PRICE.times(3)), "the copy: {is_copy}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_history_without_a_file_creates_one_for_the_spending_when_it_is_closed() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    work(history.of_account("ada")).await;
    history.flush().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    work(history.of_account("ada")).await;
    history.close().await.unwrap();
    drop(history);
    assert_eq!(spent_after_restart(&path).await.calls, 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_removed_while_nothing_runs_is_noticed_and_its_return_too() {
    let (folder, path) = folder();
    let history = start(&path).await;
    work(history.of_account("ada")).await;
    history.flush().await.unwrap();
    let away = folder.path().join("away.db");
    let mut progress = history.0.shared.progress.subscribe();
    std::fs::rename(&path, &away).unwrap();
    progress.wait_for(|progress| matches!(progress.result, Err(StoreError::Missing(_)))).await.unwrap();
    std::fs::rename(&away, &path).unwrap();
    progress.wait_for(|progress| progress.result.is_ok()).await.unwrap();
    history.check().await.unwrap();
}

#[tokio::test]
async fn a_check_finds_each_table_that_cannot_be_written() {
    for table in ["epochs", "runs", "events", "run_costs", "spend", "reservations"] {
        let (_folder, path) = folder();
        let database = Database::open(&path).unwrap();
        let history = History::start(database.clone(), Event::clone).await.unwrap();
        history.check().await.unwrap();
        let rename = |sql: String| database.write(move |connection| Ok(connection.execute_batch(&sql)?));
        rename(format!("PRAGMA legacy_alter_table = on; ALTER TABLE {table} RENAME TO away")).await.unwrap();
        assert!(history.check().await.is_err(), "{table}");
        rename(format!("ALTER TABLE away RENAME TO {table}")).await.unwrap();
        history.check().await.unwrap();
    }
}

#[tokio::test]
async fn spending_is_written_even_if_events_cannot_be() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    let history = History::start(database.clone(), Event::clone).await.unwrap();
    database.write(|connection| Ok(connection.execute_batch("DROP TABLE events")?)).await.unwrap();
    work(history.of_account("ada")).await;
    drop((history, database));
    let database = Database::open(&path).unwrap();
    let spent = crate::RunHistory::new(&database).spent_in_window(Window::Total, Some("ada")).await.unwrap();
    assert_eq!(spent.charged, PRICE);
}

#[tokio::test]
async fn callers_do_not_wait_for_a_writer_that_panicked() {
    let (_folder, path) = folder();
    let mask = |_: &Event| panic!("a bug of the program");
    let history = History::start(Database::open(&path).unwrap(), mask).await.unwrap();
    let model = history.write_barrier(ScriptedModel::new([Turn::text("Done.")])).metered(&FixedPrice);
    let run = Run::builder().observer(history.of_account("ada")).build();
    assert_eq!(Agent::new("clerk", model).run_in(&run, "Go.").await.unwrap().text, "Done.");
    let error = history.flush().await.unwrap_err();
    assert!(matches!(error, StoreError::Closed), "{error:?}");
}

#[tokio::test]
async fn a_lock_of_another_program_delays_the_history_and_loses_nothing() {
    let (_folder, path) = folder();
    let settings = DatabaseSettings::default().busy_timeout(Duration::from_millis(200));
    let history = History::start(Database::open_with(&path, &settings).unwrap(), Event::clone).await.unwrap();
    let locker = Connection::open(&path).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..10 {
        let model = history.write_barrier(ScriptedModel::new([Turn::text("Done.")])).metered(&FixedPrice);
        let run = Run::builder().observer(history.of_account("ada")).build();
        Agent::new("clerk", model).run_in(&run, "Go.").await.unwrap();
        let flushed = history.flush().await;
        assert!(matches!(flushed, Err(StoreError::Locked { is_queued: true })), "{flushed:?}");
        assert!(history.check().await.is_err() && history.is_failing());
    }
    // Only the first run waits.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    locker.execute_batch("ROLLBACK").unwrap();
    while let Err(StoreError::Locked { .. }) = history.flush().await {
        tokio::task::yield_now().await;
    }
    history.check().await.unwrap();
    assert_eq!(history.lost(), 0);
    assert_eq!(history.runs().list(RunFilter::default().status(RunStatus::Ended)).await.unwrap().len(), 10);
    drop(history);
    assert_eq!(spent_after_restart(&path).await.total(), PRICE.times(10));
}

#[cfg(unix)]
#[tokio::test]
async fn spending_is_kept_while_the_folder_of_the_database_is_gone() {
    for comes_back in [true, false] {
        let (folder, _) = folder();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("test.db");
        let history = start(&path).await;
        work(history.of_account("ada")).await;
        history.flush().await.unwrap();
        std::fs::remove_dir_all(&inner).unwrap();
        work(history.of_account("ada")).await;
        assert!(matches!(history.flush().await, Err(StoreError::Missing(_))));
        assert!(history.check().await.is_err());
        if comes_back {
            std::fs::create_dir(&inner).unwrap();
            std::fs::File::create(&path).unwrap();
            history.flush().await.unwrap();
            history.close().await.unwrap();
            assert_eq!(spent_after_restart(&path).await.total(), PRICE.times(2));
        } else {
            let error = history.close().await.unwrap_err();
            assert!(matches!(error, StoreError::Open { .. }), "the caller learns that cost is lost: {error:?}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn spending_is_kept_while_the_file_is_damaged_and_written_to_the_next_one() {
    let (folder, path) = folder();
    let history = start(&path).await;
    work(history.of_account("ada")).await;
    history.flush().await.unwrap();
    let mut progress = history.0.shared.progress.subscribe();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    // It is noticed although nothing runs.
    progress.wait_for(|progress| matches!(progress.result, Err(StoreError::Damaged { .. }))).await.unwrap();
    work(history.of_account("ada")).await;
    assert!(history.flush().await.is_err() && history.check().await.is_err());
    let empty = folder.path().join("empty");
    std::fs::File::create(&empty).unwrap();
    std::fs::rename(&empty, &path).unwrap();
    history.flush().await.unwrap();
    history.close().await.unwrap();
    assert_eq!(spent_after_restart(&path).await.total(), PRICE.times(2));
}

#[cfg(unix)]
#[tokio::test]
async fn an_older_copy_that_is_copied_over_the_file_gets_the_spending_that_it_lacks() {
    let (folder, path) = folder();
    let history = start(&path).await;
    work(history.of_account("ada")).await;
    history.flush().await.unwrap();
    let copy = folder.path().join("copy.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::copy(&path, &copy).unwrap();
    work(history.of_account("ada")).await;
    history.flush().await.unwrap();
    Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::copy(&copy, &path).unwrap();
    // The copy is refused or used; in both cases nothing is lost silently.
    match history.flush().await {
        Ok(()) => {
            history.close().await.unwrap();
            assert_eq!(spent_after_restart(&path).await.total(), PRICE.times(2));
        }
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}"),
    }
}

#[tokio::test]
async fn runs_are_found_by_user_after_a_restart() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let script = || [Turn::call("c1", "critic", json!({"task": "Look."})), Turn::text("All good.")];
    for user in [Some("bob"), None, Some("eve"), Some("bob")] {
        let scope = user.into_iter().fold(brigade_core::Scope::default(), brigade_core::Scope::user);
        let critic = Agent::new("critic", ScriptedModel::new([Turn::text("Fine.")]));
        let desk = Agent::new("desk", ScriptedModel::new(script())).worker(Worker::new(critic));
        let run = Run::builder().scope(scope).observer(history.of_account("ada")).build();
        desk.run_in(&run, "Check it.").await.unwrap();
    }
    drop(history);
    let history = start(&path).await;
    let runs = history.runs();
    let bobs = runs.list(RunFilter::default().user("bob")).await.unwrap();
    assert_eq!(bobs.iter().map(|run| run.user.as_deref()).collect::<Vec<_>>(), [Some("bob"); 2]);
    let mut with_workers = RunFilter::default().user("bob");
    with_workers.children = true;
    assert_eq!(runs.list(with_workers).await.unwrap().len(), 4, "runs of workers are for the same user");
    assert_eq!(runs.list(RunFilter::default()).await.unwrap().iter().filter(|run| run.user.is_none()).count(), 1);
}

#[tokio::test]
async fn a_run_that_waits_has_a_status_of_its_own_over_a_restart_and_until_it_goes_on() {
    let (_folder, path) = folder();
    let history = start(&path).await;
    let run = Run::new();
    let elapsed = Duration::from_secs(1);
    let wait = Event::RunWaiting { reason: "`refund` waits for an approval".into(), elapsed };
    for event in [Event::RunStarted, wait] {
        history.on_event(&run, &event);
    }
    drop(history);

    let history = start(&path).await;
    assert_eq!(history.interrupted(), InterruptedWork::default(), "a run that waits was not interrupted");
    let status = async |expected| {
        history.flush().await.unwrap();
        let found = history.runs().list(RunFilter::default().status(expected)).await.unwrap();
        assert_eq!(found.iter().map(|found| (found.run, found.status())).collect::<Vec<_>>(), [(run.id(), expected)]);
    };
    status(RunStatus::Waiting).await;
    history.on_event(&run, &Event::Resumed { steps: 1, saved: Money::ZERO });
    status(RunStatus::Running).await;
    let (usage, stop) = (Usage::new(1, 1), brigade_core::StopReason::Finished);
    history.on_event(&run, &Event::RunEnded { stop, turns: 1, usage, cost: None, elapsed });
    status(RunStatus::Ended).await;
}
