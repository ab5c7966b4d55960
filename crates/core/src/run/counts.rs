//! Counters of things that are told apart by a digest.

use std::{
    hash::{BuildHasher, Hash},
    sync::Mutex,
};

use foldhash::quality::FixedState;

use crate::sync::unpoisoned;

/// How often each of a number of things was seen. A run has so few of them that a list costs less than a map.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<(u64, u32)>);

/// A tally that all runs of one request share.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Tally>);

/// Stands for a thing in a tally. Of the few things of one run no two have the same 64 bits by chance.
pub(crate) fn digest(what: impl Hash) -> u64 {
    FixedState::default().hash_one(what)
}

impl Tally {
    /// Counts the thing with this digest once more, and answers how often it was seen by now.
    pub(crate) fn add(&mut self, digest: u64) -> u32 {
        let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == digest) else {
            self.0.push((digest, 1));
            return 1;
        };
        *count = count.saturating_add(1);
        *count
    }

    fn get(&self, digest: u64) -> u32 {
        self.0.iter().find(|(known, _)| *known == digest).map_or(0, |(_, count)| *count)
    }
}

impl Counts {
    /// Counts one more, and answers how many there are now.
    pub(crate) fn add(&self, what: impl Hash) -> u32 {
        unpoisoned(&self.0).add(digest(what))
    }

    /// How many there are.
    pub(crate) fn get(&self, what: impl Hash) -> u32 {
        unpoisoned(&self.0).get(digest(what))
    }
}
