//! Many notes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use brigade_core::{Embedder, Embeddings, ModelError, ModelId, Run, Scope};
use brigade_notes::{Note, NoteSource, Recall};
use brigade_store::{Database, RecallSettings, SqliteRecall};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::store::{Amount, Numbers};

/// Words with the frequencies of a natural language: the n-th is about 1/n as frequent as the first (Zipf's law).
struct Words {
    words: Vec<String>,
    seed: u64,
}

/// Returns a pseudo-random vector for each text.
#[derive(Debug)]
struct RandomEmbedder(ModelId);

const WORDS: u32 = 20_000;
const DIMENSIONS: usize = 512;
const AT_A_TIME: usize = 100;

impl Words {
    fn new() -> Self {
        let words = (0..WORDS).map(|number| format!("w{:x}", number.wrapping_mul(2_654_435_761)));
        Self { words: words.collect(), seed: 7 }
    }

    fn next(&mut self) -> &str {
        self.seed = step(self.seed);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "random"
        )]
        let rank = f64::from(WORDS).powf((self.seed >> 11) as f64 / (1_u64 << 53) as f64) as usize;
        self.words.get(rank).or(self.words.last()).map_or("", String::as_str)
    }

    fn text(&mut self, words: usize) -> String {
        let mut text = String::new();
        for _ in 0..words {
            text.push_str(self.next());
            text.push(' ');
        }
        text
    }
}

/// Knuth's constants for a linear congruential generator.
fn step(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

#[async_trait]
impl Embedder for RandomEmbedder {
    fn id(&self) -> &ModelId {
        &self.0
    }

    async fn embed(&self, texts: &[&str], _: &Run) -> Result<Embeddings, ModelError> {
        let vectors = texts.iter().map(|text| {
            let mut seed = text.bytes().fold(1, |seed, byte| step(seed ^ u64::from(byte)));
            let mut number = || {
                seed = step(seed);
                f32::from(i8::from_le_bytes([seed.to_le_bytes()[7]]))
            };
            (0..DIMENSIONS).map(|_| number()).collect()
        });
        Ok(Embeddings::new(vectors.collect()))
    }
}

pub(super) async fn measure(path: &Path, amount: Amount, numbers: &mut Numbers) -> Result<()> {
    let settings = RecallSettings::default().max_notes(u32::MAX);
    let by_words = SqliteRecall::with_settings(Database::open(path)?, settings);
    let by_both = by_words.clone().embedder(Arc::new(RandomEmbedder(ModelId::new("bench", "anywhere"))));
    for (name, scopes, recall) in [
        ("in one scope, by words", 1, &by_words),
        ("in 100 scopes, by words", 100, &by_words),
        ("in one scope, by words and meaning", 1, &by_both),
        ("in 100 scopes, by words and meaning", 100, &by_both),
    ] {
        let (mut words, run) = (Words::new(), Run::new());
        let scope = |number: usize| Scope::default().tenant(name).user(format!("user {}", number % scopes));
        let mut times = Vec::new();
        for batch in 0..amount.notes / AT_A_TIME {
            let notes = (0..AT_A_TIME).map(|_| Note::new(words.text(20), NoteSource::User)).collect::<Vec<_>>();
            let start = Instant::now();
            let mut writers = JoinSet::new();
            for (number, note) in notes.into_iter().enumerate() {
                let (recall, scope, run) = (recall.clone(), scope(batch * AT_A_TIME + number), run.clone());
                writers.spawn(async move { recall.remember(&scope, note, &run).await });
            }
            while let Some(done) = writers.join_next().await {
                done??;
            }
            times.push(start.elapsed());
        }
        numbers.add(format!("remember {AT_A_TIME} of {} notes {name}", amount.notes), &times);
        let mut times = Vec::new();
        for number in 0..amount.repetitions {
            let (scope, text) = (scope(number), words.text(6));
            let start = Instant::now();
            recall.recall(&scope, &text, 5, &run).await?;
            times.push(start.elapsed());
        }
        let name = format!("recall 5 of {} notes {name}", amount.notes);
        numbers.add_at_most(Duration::from_millis(20), name, &times);
    }
    Ok(())
}
