//! A map with a bounded number of recent entries.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that evicts its oldest entries.
#[derive(Debug)]
pub(super) struct Lately<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Lately<K, V> {
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
    use super::Lately;

    #[test]
    fn the_oldest_are_evicted() {
        let mut lately = Lately::new(2);
        assert!(lately.insert(1, 'a'));
        assert!(!lately.insert(1, 'b'));
        assert!(lately.insert(2, 'c') && lately.insert(3, 'd'));
        assert_eq!(
            (lately.get(&1), lately.get(&2), lately.get(&3)),
            (None, Some(&'c'), Some(&'d'))
        );
    }
}
