//! Counts how often things happened in a run.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

use crate::sync::unpoisoned;

/// Counts keys of any type, by their digests.
#[derive(Debug, Default)]
pub(crate) struct Tally(HashMap<u64, u32>);

/// The tally that all runs of one request share.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Tally>);

/// A number that stands for a key in a tally. A run has too few keys for two of them to have the same 64 bits by chance.
pub(crate) fn digest(key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Tally {
    /// Counts one more key with this digest, and returns how often it was counted by now.
    pub(crate) fn add(&mut self, digest: u64) -> u32 {
        let count = self.0.entry(digest).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

impl Counts {
    /// Counts one more key with this digest, and returns how often it was counted by now.
    pub(crate) fn add(&self, digest: u64) -> u32 {
        unpoisoned(&self.0).add(digest)
    }

    /// How often `key` was counted.
    pub(crate) fn get(&self, key: impl Hash) -> u32 {
        unpoisoned(&self.0).0.get(&digest(key)).copied().unwrap_or_default()
    }
}
