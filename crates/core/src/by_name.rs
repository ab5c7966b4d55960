//! A small map from names.

use std::{borrow::Borrow, collections::BTreeMap, ops::AddAssign, slice};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What belongs to each of a handful of names, such as the agents of a run, in the order of the names. As JSON it is an
/// object.
///
/// It is a list, which for so few takes less time and room than a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByName<K, V>(Vec<(K, V)>);

impl<K: Borrow<str>, V> ByName<K, V> {
    /// What belongs to `name`.
    pub fn get(&self, name: &str) -> Option<&V> {
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, each with what belongs to it.
    pub fn iter(&self) -> slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(name, _)| name)
    }

    /// No names yet, and room for so many.
    pub(crate) fn with_capacity(names: usize) -> Self {
        Self(Vec::with_capacity(names))
    }

    /// Adds `more` to what belongs to `name`.
    pub(crate) fn add(&mut self, name: K, more: V)
    where
        V: AddAssign,
    {
        match self.place(name.borrow()).map(|place| self.0.get_mut(place)) {
            Ok(Some((_, value))) => *value += more,
            Ok(None) => {}
            Err(place) => self.0.insert(place, (name, more)),
        }
    }

    /// Where `name` stands, or else belongs.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(name))
    }
}

impl<K, V> Default for ByName<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, K: Borrow<str>, V> IntoIterator for &'a ByName<K, V> {
    type Item = &'a (K, V);
    type IntoIter = slice::Iter<'a, (K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Serialize, V: Serialize> Serialize for ByName<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for ByName<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A document may have its names in any order, and the same one twice.
        BTreeMap::deserialize(deserializer).map(|names| Self(names.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_to_a_name_is_found_under_it_and_names_are_in_order() {
        let mut counts = ByName::<String, u32>::default();
        for (name, more) in [("b", 1), ("c", 2), ("a", 3), ("b", 4)] {
            counts.add(name.to_owned(), more);
        }
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"a":3,"b":5,"c":2}"#);
        assert_eq!((counts.get("b"), counts.get("d")), (Some(&5), None));
        assert_eq!(serde_json::from_str::<ByName<_, _>>(r#"{"c":2,"b":5,"a":3}"#).ok(), Some(counts));
    }
}
