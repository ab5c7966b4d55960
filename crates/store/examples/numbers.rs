//! How fast the store is, on this machine: `cargo run --release -p brigade-store --example numbers`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a program to look at numbers")]

use std::{path::Path, sync::Arc, time::Duration};

use brigade_core::{
    Certainty, Charge, Event, Message, ModelId, Money, Note, NoteSource, Observer, Recall, Run, Scope, StopKind,
    StopReason, Usage,
};
use brigade_store::{
    Database, Exchange, History, HistorySettings, MemorySettings, RecallSettings, RunFilter, SqliteMemory,
    SqliteRecall, UsageBy, UsageFilter,
};
use tokio::time::Instant;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned())).unwrap();
    runtime.block_on(sessions(&folder.path().join("sessions.db")));
    runtime.block_on(history(&folder.path().join("history.db")));
    runtime.block_on(notes(&folder.path().join("notes.db")));
}

async fn sessions(path: &Path) {
    let settings = MemorySettings { window_tokens: 100_000, ..MemorySettings::default() };
    let memory = SqliteMemory::with_settings(Database::open(path).unwrap(), settings);
    let mut times = Vec::new();
    for number in 0..5_000 {
        let question = format!("Question {number}: {}", "what of it? ".repeat(16));
        let messages = [Message::user(question), Message::assistant("It is so. ".repeat(20))];
        let start = Instant::now();
        memory.append_exchange("long", Exchange::of(&messages)).await.unwrap();
        times.push(start.elapsed());
    }
    report("append an exchange, synced", &mut times);
    let mut times = Vec::new();
    let mut loaded = 0;
    for _ in 0..200 {
        let start = Instant::now();
        loaded = memory.conversation("long").await.unwrap().messages.len();
        times.push(start.elapsed());
    }
    report(&format!("load a window of 100,000 tokens ({loaded} of 10,000 messages)"), &mut times);
}

async fn notes(path: &Path) {
    let words: Vec<String> =
        (0..20_000_u32).map(|number| format!("w{:x}", number.wrapping_mul(2_654_435_761))).collect();
    let mut seed = 7_u64;
    // Word frequencies as in a language: the n-th word is about 1/n as frequent as the first (Zipf).
    let mut word = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "random"
        )]
        let rank = (20_000_f64.powf((seed >> 11) as f64 / (1_u64 << 53) as f64)) as usize;
        words[rank.min(words.len() - 1)].as_str()
    };
    let settings = RecallSettings { max_notes: 1_000_000, ..RecallSettings::default() };
    let recall = Arc::new(SqliteRecall::with_settings(Database::open(path).unwrap(), settings));
    for (name, scopes) in [("one scope", 1), ("100 scopes", 100)] {
        let scope = |number: usize| Scope::default().tenant(name).user(format!("user {}", number % scopes));
        let start = Instant::now();
        for batch in 0..1_000 {
            let mut writers = tokio::task::JoinSet::new();
            for number in 0..100 {
                let text: Vec<_> = (0..20).map(|_| word()).collect();
                let note = Note::new(text.join(" "), NoteSource::User);
                let (recall, scope) = (Arc::clone(&recall), scope(batch * 100 + number));
                writers.spawn(async move { recall.remember(&scope, note).await });
            }
            while let Some(done) = writers.join_next().await {
                done.unwrap().unwrap();
            }
        }
        println!("{:>10.0?} remember 100,000 notes in {name}, 100 at a time", start.elapsed());
        let mut times = Vec::new();
        for number in 0..300 {
            let query: Vec<_> = (0..6).map(|_| word()).collect();
            let start = Instant::now();
            recall.recall(&scope(number), &query.join(" "), 5).await.unwrap();
            times.push(start.elapsed());
        }
        report(&format!("recall 5 of 100,000 notes in {name} by 6 words"), &mut times);
    }
}

/// Four events, as one model call has.
fn call(observer: &dyn Observer, run: &Run, model: &ModelId) {
    let usage = Usage::new(1_000, 100);
    let cost = Some(Money::from_nano(1_000_000));
    let charge = Charge { certainty: Certainty::Charged, usage, cost };
    let elapsed = Duration::from_secs(1);
    observer.on_event(run, &Event::TurnStarted { turn: 1, model: model.clone() });
    observer.on_event(run, &Event::AttemptStarted { model: model.clone() });
    observer.on_event(run, &Event::AttemptEnded { model: model.clone(), error: None, charge: Some(charge), elapsed });
    let (model, stop) = (model.clone(), StopKind::EndTurn);
    observer
        .on_event(run, &Event::TurnEnded { turn: 1, model, usage: Some(usage), cost, stop, tool_calls: 0, elapsed });
}

async fn history(path: &Path) {
    let database = Database::open(path).unwrap();
    let describe = |event: &Event| Some(format!("{:.150}", format!("{event:?}")));
    let settings = HistorySettings { interval: Duration::from_millis(200), ..HistorySettings::default() };
    let history = History::start_with(database, describe, settings).await.unwrap();
    let observer = history.of_account("ada");
    let model = ModelId::new("acme", "large");
    let (mut times, start) = (Vec::new(), Instant::now());
    for number in 0..45_454_u32 {
        let run = Run::new();
        observer.on_event(&run, &Event::RunStarted);
        let start = Instant::now();
        for _ in 0..5 {
            call(&*observer, &run, &model);
        }
        times.push(start.elapsed() / 5);
        let (stop, usage, cost) = (StopReason::Finished, Usage::new(5_000, 500), Some(Money::from_nano(5_000_000)));
        observer.on_event(&run, &Event::RunEnded { stop, turns: 5, usage, cost, elapsed: Duration::from_secs(5) });
        if number.is_multiple_of(100) {
            history.flush().await.unwrap();
        }
    }
    history.flush().await.unwrap();
    let lost = history.lost();
    println!("{:>10.0?} write 1,000,000 events of 45,454 runs ({lost} lost)", start.elapsed());
    report("a model call's four events, on the run's task", &mut times);

    let runs = history.runs();
    let lists = [
        ("the last 50 runs", RunFilter::default()),
        ("the last 50 runs of a key", RunFilter { account: Some("ada".to_owned()), ..RunFilter::default() }),
        (
            "50 interrupted runs, of which there are none",
            RunFilter { status: Some(brigade_store::RunStatus::Interrupted), ..RunFilter::default() },
        ),
    ];
    for (name, filter) in lists {
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            runs.list(filter.clone()).await.unwrap();
            times.push(start.elapsed());
        }
        report(&format!("list {name} of 1,000,000 events"), &mut times);
    }
    let oldest = runs.list(RunFilter::default()).await.unwrap().pop().unwrap();
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        runs.trace(&oldest.trace).await.unwrap();
        runs.usage(UsageFilter::default(), &[UsageBy::Day, UsageBy::Account]).await.unwrap();
        times.push(start.elapsed());
    }
    report("one run with its events, and usage by day and key", &mut times);
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{:>10.1?} p50 {:>10.1?} p99  {what}", at(50), at(99));
}
