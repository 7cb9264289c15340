//! What was seen lately, within bounds.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that forgets its oldest entries.
#[derive(Debug)]
pub(super) struct Lately<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Lately<K, V> {
    /// A map that holds at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    /// Puts an entry in; false, if there was one under this key.
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
    fn the_oldest_are_forgotten() {
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
