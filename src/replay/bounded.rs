//! A map with a bounded number of recent entries.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that evicts its oldest entries.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// A map of at most `most` entries.
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    /// Inserts an entry; false if the key was already there.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        if self.entries.insert(key.clone(), value).is_some() {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        true
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_oldest_are_evicted() {
        let mut recent = Recent::new(2);
        assert!(recent.insert(1, 'a'));
        assert!(!recent.insert(1, 'b'));
        assert!(recent.insert(2, 'c') && recent.insert(3, 'd'));
        assert_eq!(
            (recent.get(&1), recent.get(&2), recent.get(&3)),
            (None, Some(&'c'), Some(&'d'))
        );
    }
}
