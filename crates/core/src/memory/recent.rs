//! A map that forgets.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// A map of bounded size. When it is full, a new entry takes the place of the one that was not written for longest.
#[derive(Debug)]
pub(crate) struct RecentMap<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// The keys by the time of their last writing.
    order: BTreeMap<u64, K>,
    clock: u64,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V: Default> RecentMap<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), clock: 0, capacity }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entry of `key` if there is one, for a change that does not count as writing.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// The entry of `key`, for writing.
    pub(crate) fn entry(&mut self, key: &K) -> &mut V {
        self.clock += 1;
        if let Some((written, _)) = self.entries.get(key) {
            self.order.remove(written);
        } else if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(self.clock, key.clone());
        let (written, value) = self.entries.entry(key.clone()).or_default();
        *written = self.clock;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_was_not_written_for_longest_makes_room() {
        let mut map = RecentMap::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            *map.entry(&key) = value;
        }
        assert_eq!([map.get(&"a"), map.get(&"b"), map.get(&"c")], [Some(&3), None, Some(&4)]);
        assert_eq!(map.order.len(), 2);
    }

    #[test]
    fn reading_is_not_writing() {
        let mut map = RecentMap::<_, u32>::new(2);
        map.entry(&"a");
        map.entry(&"b");
        assert_eq!(map.get_mut(&"a"), Some(&mut 0));
        map.entry(&"c");
        assert_eq!(map.get(&"a"), None);
    }
}
