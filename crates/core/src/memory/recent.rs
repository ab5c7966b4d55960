//! A map of bounded size.

use std::{collections::HashMap, hash::Hash};

/// A map of bounded size. If it is full, a new entry replaces the least recently written one.
#[derive(Debug)]
pub(crate) struct RecentMap<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Counts the writes.
    writes: u64,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Entry<V> {
    last_write: u64,
    value: V,
}

impl<K: Clone + Eq + Hash, V: Default> RecentMap<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), writes: 0, capacity }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The value of `key` for a write. A new key starts with the default value.
    pub(crate) fn write(&mut self, key: &K) -> &mut V {
        if !self.entries.contains_key(key) && self.entries.len() >= self.capacity {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last_write).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.entries.remove(&key));
        }
        self.writes += 1;
        let entry = self.entries.entry(key.clone()).or_default();
        entry.last_write = self.writes;
        &mut entry.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_written_entry_is_evicted() {
        let mut map = RecentMap::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            *map.write(&key) = value;
        }
        assert_eq!([map.get(&"a"), map.get(&"b"), map.get(&"c")], [Some(&3), None, Some(&4)]);
    }

    #[test]
    fn reads_do_not_count_as_writes() {
        let mut map = RecentMap::<_, u32>::new(2);
        map.write(&"a");
        map.write(&"b");
        assert_eq!(map.get(&"a"), Some(&0));
        map.write(&"c");
        assert_eq!(map.get(&"a"), None);
    }
}
