//! Counters that all runs of one request share.

use std::{collections::HashMap, sync::Mutex};

use crate::ledger::unpoisoned;

/// Counters by name.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<HashMap<String, u32>>);

impl Counts {
    /// Counts one more, and answers how many there are now.
    pub(crate) fn add(&self, what: &str) -> u32 {
        let mut counts = unpoisoned(&self.0);
        match counts.get_mut(what) {
            Some(count) => {
                *count = count.saturating_add(1);
                *count
            }
            None => *counts.entry(what.to_owned()).or_insert(1),
        }
    }

    /// How many there are.
    pub(crate) fn get(&self, what: &str) -> u32 {
        unpoisoned(&self.0).get(what).copied().unwrap_or(0)
    }
}
