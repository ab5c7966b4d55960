//! Kills a process that writes, and checks the file.
//!
//! The process is this test binary itself; its environment makes it write until it is killed. It prints what should be on
//! disk. Each test kills it [`KILLS`] times, at random moments, on the same file.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use brigade_core::{
    Agent, Event, Message, ModelExt, ModelId, Money, PriceCeiling, Pricing, Rates, Run, ServedCall, Settings, Spending,
    Usage, Window,
    testing::{ScriptedModel, Turn},
};
use brigade_store::{
    Database, Exchange, History, MemorySettings, RunFilter, RunStatus, SqliteMemory, UsageBy, UsageFilter,
};
use uuid::Uuid;

/// Takes half a minute. `BRIGADE_KILLS` sets another number.
const KILLS: usize = 200;

const PATH: &str = "BRIGADE_CRASH_PATH";
const WORK: &str = "BRIGADE_CRASH_WORK";

/// Every call costs, and is estimated at, a tenth of a cent.
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

fn exchange(number: u64) -> [Message; 3] {
    // Some are large enough for a blob.
    let question = format!("question {number} {}", "q".repeat(if number.is_multiple_of(7) { 20_000 } else { 20 }));
    [Message::user(question), Message::assistant(format!("answer {number}")), Message::assistant("Bye.")]
}

/// The body of the killed process, not a test by itself.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(path) = std::env::var(PATH) else { return };
    let database = Database::open(path).unwrap();
    match std::env::var(WORK).as_deref() {
        Ok("append") => append(&SqliteMemory::new(database)).await,
        Ok("run") => run(&History::start(database, Event::clone).await.unwrap()).await,
        other => panic!("{other:?}"),
    }
}

async fn append(memory: &SqliteMemory) {
    let mut number = memory.conversation("s").await.unwrap().version;
    loop {
        let messages = exchange(number);
        let key = number.to_string();
        let exchange = Exchange::new(&messages).key(&key).after(number);
        number = memory.append_exchange("s", exchange).await.unwrap();
        println!("stored {number}");
    }
}

async fn run(history: &History) {
    for number in 0_u64.. {
        // It answers at once, so that a call starts and ends within one commit.
        let model = history.write_barrier(ScriptedModel::new([Turn::text("Done.")])).metered(&FixedPrice);
        let run = Run::builder().observer(history.of_account("ada")).build();
        println!("started");
        Agent::new("clerk", model).run_in(&run, "Go.").await.unwrap();
        println!("answered {}", number + 1);
        // Some runs are not flushed, so that their cost is not yet written when the next run starts.
        if number.is_multiple_of(3) {
            history.flush().await.unwrap();
            println!("settled {}", number + 1);
        }
    }
}

/// The process that writes, and its output.
struct Writer {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(path: &Path, work: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["the_process_that_is_killed", "--exact", "--nocapture"]).env(PATH, path).env(WORK, work);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Kills it after a random time. Returns its output.
    fn kill(mut self) -> Vec<String> {
        let random = Uuid::new_v4().as_u128();
        let mut lines = Vec::new();
        let is_work =
            |line: &String| ["started", "stored", "answered", "settled"].iter().any(|word| line.starts_with(word));
        while lines.iter().filter(|line| is_work(line)).count() < usize::try_from(random % 16).unwrap() {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it exited: {lines:?}");
            lines.push(line);
        }
        let delay = Duration::from_micros(u64::try_from((random >> 64) % 5_000).unwrap());
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        never.recv_timeout(delay).unwrap_err();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        lines.extend(rest.lines().map(str::to_owned));
        lines
    }
}

fn kills() -> usize {
    std::env::var("BRIGADE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// The last number printed after `word`.
fn last(lines: &[String], word: &str) -> Option<u64> {
    lines.iter().rev().find_map(|line| line.trim().strip_prefix(word)?.trim().parse().ok())
}

#[tokio::test]
async fn a_killed_process_leaves_complete_exchanges_and_loses_none_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut stored = 0;
    for _ in 0..kills() {
        stored = last(&Writer::start(&path, "append").kill(), "stored").unwrap_or(stored).max(stored);
        let database = Database::open(&path).unwrap();
        database.check().await.unwrap();
        let settings = MemorySettings::default().window_tokens(u64::MAX);
        let conversation = SqliteMemory::with_settings(database, settings).conversation("s").await.unwrap();
        assert!(conversation.version >= stored, "{} of {stored}", conversation.version);
        assert!(conversation.version <= stored + 1, "one at a time is appended");
        let expected: Vec<_> = (0..conversation.version).flat_map(exchange).collect();
        assert!(conversation.messages == expected, "an exchange is incomplete or duplicated");
        stored = conversation.version;
    }
    assert!(stored > 0);
}

#[tokio::test]
async fn a_killed_process_loses_no_settled_cost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut before = Spending::default();
    for _ in 0..kills() {
        let lines = Writer::start(&path, "run").kill();
        let [answered, settled] = ["answered", "settled"].map(|word| last(&lines, word).unwrap_or(0));
        let started = lines.iter().filter(|line| line.starts_with("started")).count() as u64;
        let database = Database::open(&path).unwrap();
        database.check().await.unwrap();
        let history = History::start(database, Event::clone).await.unwrap();
        let spent = history.runs().spent_in_window(Window::Total, Some("ada")).await.unwrap();
        let calls = spent.calls - before.calls;
        assert!(calls >= answered, "{calls} calls are known of {answered} answered ones");
        let charged = spent.charged - before.charged;
        assert!(charged >= PRICE.times(settled), "{charged} is known of {settled} settled calls");
        assert!(calls <= started, "{calls} calls are known of {started}");
        assert_eq!(spent.total(), PRICE.times(spent.calls), "each at its price");
        assert!(spent.uncertain - before.uncertain <= PRICE, "one call at a time is in progress");
        let running = RunFilter::default().status(RunStatus::Running);
        assert!(history.runs().list(running).await.unwrap().is_empty());
        let by_agent = history.runs().usage(UsageFilter::default(), &[UsageBy::Agent]).await.unwrap();
        assert!(by_agent.iter().all(|row| row.group == ["clerk"]));
        before = spent;
    }
    assert!(before.calls > 0);
}
