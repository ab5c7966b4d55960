//! Long-term memory inside one process.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use brigade_core::{MemoryError, Run, Scope};
use parking_lot::Mutex;

use crate::{Note, Recall};

/// Long-term memory within this process.
///
/// It is bounded: a full scope evicts its oldest note, and a full memory evicts the least recently written scope. Notes
/// are ranked by the words that they share with the query (Okapi BM25), without synonyms or word forms.
#[derive(Debug)]
pub struct LocalRecall {
    scopes: Arc<Mutex<Scopes>>,
}

/// The notes of each scope. The scopes are in the order in which they were last written.
#[derive(Debug, Default)]
struct Scopes(VecDeque<(Scope, VecDeque<IndexedNote>)>);

/// A note with its word counts.
#[derive(Debug)]
struct IndexedNote {
    note: Note,
    /// The number of occurrences of each word.
    words: BTreeMap<String, u32>,
    /// The number of words.
    length: u32,
}

impl LocalRecall {
    /// The most scopes stored.
    pub const MAX_SCOPES: usize = 1_000;
    /// The most notes stored per scope.
    pub const MAX_NOTES: usize = 1_000;
    /// The longest note, in bytes.
    pub const MAX_NOTE_BYTES: usize = 4 * 1024;

    /// An empty memory.
    pub fn new() -> Self {
        Self { scopes: Arc::default() }
    }
}

impl Default for LocalRecall {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Recall for LocalRecall {
    async fn remember(&self, scope: &Scope, note: Note, _: &Run) -> Result<(), MemoryError> {
        let size = note.text.len();
        if size > Self::MAX_NOTE_BYTES {
            let limit = Self::MAX_NOTE_BYTES;
            return Err(MemoryError::new(format!("a note may have {limit} bytes, this one has {size}; shorten it")));
        }
        self.scopes.lock().add(scope, note);
        Ok(())
    }

    async fn recall(&self, scope: &Scope, text: &str, limit: usize, _: &Run) -> Result<Vec<Note>, MemoryError> {
        let (scopes, scope, text) = (Arc::clone(&self.scopes), scope.clone(), text.to_owned());
        // The text may be a long task, whose words take a while to count.
        let ranking = tokio::task::spawn_blocking(move || {
            let wanted = words(&text).collect();
            let scopes = scopes.lock();
            let notes = scopes.get(&scope).map(|notes| rank(notes, &wanted)).unwrap_or_default();
            notes.into_iter().take(limit).map(|indexed| indexed.note.clone()).collect()
        });
        ranking.await.map_err(|error| MemoryError::new(format!("the notes could not be ranked: {error}")))
    }

    async fn forget(&self, scope: &Scope, id: &str) -> Result<bool, MemoryError> {
        let mut scopes = self.scopes.lock();
        let Some(notes) = scopes.get_mut(scope) else { return Ok(false) };
        let before = notes.len();
        notes.retain(|kept| kept.note.id != id);
        Ok(notes.len() < before)
    }
}

impl Scopes {
    fn get(&self, scope: &Scope) -> Option<&VecDeque<IndexedNote>> {
        self.0.iter().find(|(owner, _)| owner == scope).map(|(_, notes)| notes)
    }

    fn get_mut(&mut self, scope: &Scope) -> Option<&mut VecDeque<IndexedNote>> {
        self.0.iter_mut().find(|(owner, _)| owner == scope).map(|(_, notes)| notes)
    }

    /// Adds a note. It replaces a note with the same id, and evicts what exceeds the limits.
    fn add(&mut self, scope: &Scope, note: Note) {
        let position = self.0.iter().position(|(owner, _)| owner == scope);
        let (owner, mut notes) = position.and_then(|position| self.0.remove(position)).unwrap_or_default();
        let owner = if position.is_some() { owner } else { scope.clone() };
        notes.retain(|kept| kept.note.id != note.id);
        if notes.len() >= LocalRecall::MAX_NOTES {
            notes.pop_front();
        }
        notes.push_back(IndexedNote::new(note));
        if self.0.len() >= LocalRecall::MAX_SCOPES {
            self.0.pop_front();
        }
        self.0.push_back((owner, notes));
    }
}

impl IndexedNote {
    fn new(note: Note) -> Self {
        let mut occurrences = BTreeMap::new();
        let mut length = 0;
        for word in words(&note.text) {
            *occurrences.entry(word).or_default() += 1;
            length += 1;
        }
        Self { note, words: occurrences, length }
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The notes that share a word with the query, best match first and newer notes first among equals. All notes, newest
/// first, if the query has no words. The work depends on the size of the notes and not on that of the query.
///
/// Okapi BM25 with its usual constants (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
/// Beyond", 2009): rare words count more, each repetition counts less, long notes count less.
fn rank<'a>(notes: &'a VecDeque<IndexedNote>, wanted: &HashSet<String>) -> Vec<&'a IndexedNote> {
    const SATURATION: f64 = 1.2;
    const LENGTH_WEIGHT: f64 = 0.75;
    if wanted.is_empty() {
        return notes.iter().rev().collect();
    }
    let count = as_f64(notes.len());
    let mean_length = notes.iter().map(|note| f64::from(note.length)).sum::<f64>() / count.max(1.0);
    let mut notes_with = HashMap::<&str, usize>::new();
    let shared = |note: &'a IndexedNote| note.words.iter().filter(|(word, _)| wanted.contains(*word));
    for (word, _) in notes.iter().flat_map(shared) {
        *notes_with.entry(word).or_default() += 1;
    }
    let score = |note: &'a IndexedNote| {
        let relative_length = f64::from(note.length) / mean_length.max(1.0);
        let damping = SATURATION * (1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * relative_length);
        let scores = shared(note).map(|(word, occurrences)| {
            let with_word = as_f64(notes_with.get(word.as_str()).copied().unwrap_or_default());
            let rarity = (1.0 + (count - with_word + 0.5) / (with_word + 0.5)).ln();
            let occurrences = f64::from(*occurrences);
            rarity * occurrences * (SATURATION + 1.0) / (occurrences + damping)
        });
        scores.sum::<f64>()
    };
    let scored = notes.iter().rev().map(|note| (score(note), note));
    let mut ranked: Vec<_> = scored.filter(|(score, _)| *score > 0.0).collect();
    ranked.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    ranked.into_iter().map(|(_, note)| note).collect()
}

/// Exact, because at most [`LocalRecall::MAX_NOTES`] notes are counted.
fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests;
