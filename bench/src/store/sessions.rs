//! A long session.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use brigade_core::Message;
use brigade_store::{Database, Exchange, MemorySettings, SqliteMemory};
use tokio::time::Instant;

use super::store::{Amount, Numbers};

pub(super) async fn measure(path: &Path, amount: Amount, numbers: &mut Numbers) -> Result<()> {
    let settings = MemorySettings::default().window_tokens(100_000);
    let memory = SqliteMemory::with_settings(Database::open(path)?, settings);
    let mut times = Vec::new();
    for number in 0..amount.exchanges {
        let question = format!("Question {number}: {}", "what of it? ".repeat(16));
        let messages = [Message::user(question), Message::assistant("It is so. ".repeat(20))];
        let start = Instant::now();
        memory.append_exchange("long", Exchange::new(&messages)).await?;
        times.push(start.elapsed());
    }
    numbers.add("append an exchange, synced", &times);
    let (mut times, mut loaded) = (Vec::new(), 0);
    for _ in 0..amount.repetitions {
        let start = Instant::now();
        loaded = memory.conversation("long").await?.messages.len();
        times.push(start.elapsed());
    }
    let all = 2 * amount.exchanges;
    let name = format!("load a window of 100,000 tokens, {loaded} of {all} messages");
    numbers.add_at_most(Duration::from_millis(5), name, &times);
    Ok(())
}
