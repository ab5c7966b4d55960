//! What a process that is killed leaves behind.
//!
//! The process is this test binary itself, told by its environment to write until it is killed. It says on its standard
//! output what it was told to be on disk. Each test kills it [`KILLS`] times, at random moments, on one and the same
//! file.
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

/// Half a minute. `BRIGADE_KILLS` sets another number.
const KILLS: usize = 200;

const PATH: &str = "BRIGADE_CRASH_PATH";
const WORK: &str = "BRIGADE_CRASH_WORK";

/// Every call costs a tenth of a cent, and is estimated at that.
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
    // Some are large enough to be kept as blobs.
    let question = format!("question {number} {}", "q".repeat(if number.is_multiple_of(7) { 20_000 } else { 20 }));
    [Message::user(question), Message::assistant(format!("answer {number}")), Message::assistant("Bye.")]
}

/// Not a test by itself: what the killed process does.
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
        let exchange = Exchange { key: Some(&key), after: Some(number), messages: &messages };
        number = memory.append_exchange("s", exchange).await.unwrap();
        println!("kept {number}");
    }
}

async fn run(history: &History) {
    for number in 0_u64.. {
        // It answers at once, so that a call begins and ends within one commit.
        let model = history.write_barrier(ScriptedModel::new([Turn::text("Done.")])).metered(&FixedPrice);
        let run = Run::builder().observer(history.of_account("ada")).build();
        println!("begun");
        Agent::new("clerk", model).run_in(&run, "Go.").await.unwrap();
        println!("answered {}", number + 1);
        // Some runs nobody waits for, so that their cost is on its way when the next begins.
        if number.is_multiple_of(3) {
            history.flush().await.unwrap();
            println!("settled {}", number + 1);
        }
    }
}

/// A process that writes, and what it says.
struct Writer {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(path: &Path, work: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["the_process_that_is_killed", "--exact", "--nocapture"]).env(PATH, path).env(WORK, work);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Lets it work for a random while and kills it. Answers the lines that it has said.
    fn kill(mut self) -> Vec<String> {
        let random = Uuid::new_v4().as_u128();
        let mut lines = Vec::new();
        let is_work =
            |line: &String| ["begun", "kept", "answered", "settled"].iter().any(|word| line.starts_with(word));
        while lines.iter().filter(|line| is_work(line)).count() < usize::try_from(random % 16).unwrap() {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it ended by itself: {lines:?}");
            lines.push(line);
        }
        let while_it_works = Duration::from_micros(u64::try_from((random >> 64) % 5_000).unwrap());
        let (_nobody, never) = std::sync::mpsc::channel::<()>();
        never.recv_timeout(while_it_works).unwrap_err();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        lines.extend(rest.lines().map(str::to_owned));
        lines
    }
}

fn kills() -> usize {
    std::env::var("BRIGADE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// The last number said with `word`.
fn last(lines: &[String], word: &str) -> Option<u64> {
    lines.iter().rev().find_map(|line| line.trim().strip_prefix(word)?.trim().parse().ok())
}

#[tokio::test]
async fn a_killed_process_leaves_whole_exchanges_and_all_that_it_said_to_have_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut kept = 0;
    for _ in 0..kills() {
        kept = last(&Writer::start(&path, "append").kill(), "kept").unwrap_or(kept).max(kept);
        let database = Database::open(&path).unwrap();
        database.check().await.unwrap();
        let settings = MemorySettings { window_tokens: u64::MAX, ..MemorySettings::default() };
        let conversation = SqliteMemory::with_settings(database, settings).conversation("s").await.unwrap();
        assert!(conversation.version >= kept, "{} of {kept}", conversation.version);
        assert!(conversation.version <= kept + 1, "one at a time is appended");
        let expected: Vec<_> = (0..conversation.version).flat_map(exchange).collect();
        assert!(conversation.messages == expected, "half an exchange, or one too many");
        kept = conversation.version;
    }
    assert!(kept > 0);
}

#[tokio::test]
async fn a_killed_process_loses_no_settled_cost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut before = Spending::default();
    for _ in 0..kills() {
        let lines = Writer::start(&path, "run").kill();
        let [answered, settled] = ["answered", "settled"].map(|word| last(&lines, word).unwrap_or(0));
        let begun = lines.iter().filter(|line| line.starts_with("begun")).count() as u64;
        let database = Database::open(&path).unwrap();
        database.check().await.unwrap();
        let history = History::start(database, Event::clone).await.unwrap();
        let spent = history.runs().spent_in_window(Window::Total, Some("ada")).await.unwrap();
        let calls = spent.calls - before.calls;
        assert!(calls >= answered, "{calls} calls are known of {answered} answered ones");
        let charged = spent.charged - before.charged;
        assert!(charged >= PRICE.times(settled), "{charged} is known of {settled} settled calls");
        assert!(calls <= begun, "{calls} calls are known of {begun}");
        assert_eq!(spent.total(), PRICE.times(spent.calls), "each at its price");
        assert!(spent.uncertain - before.uncertain <= PRICE, "one call at a time is under way");
        let running = RunFilter::default().status(RunStatus::Running);
        assert!(history.runs().list(running).await.unwrap().is_empty());
        let by_agent = history.runs().usage(UsageFilter::default(), &[UsageBy::Agent]).await.unwrap();
        assert!(by_agent.iter().all(|row| row.group == ["clerk"]));
        before = spent;
    }
    assert!(before.calls > 0);
}
