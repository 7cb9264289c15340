//! A table in memory: rows by key, found by indexes, with what they use and what a commit changed.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use super::usage::{Usage, Used};

/// A row of a [`Table`].
pub trait Row: Clone + PartialEq {
    /// What identifies it.
    type Key: Clone + Ord;
    /// One of the ways to find it. An entry belongs to one row, so an index that is not unique
    /// ends with the row's key.
    type Index: Ord;

    /// Its key, which never changes.
    fn key(&self) -> Self::Key;

    /// Its entries in the indexes.
    fn indexes(&self) -> Vec<Self::Index>;

    /// What it uses of an agent's shared resources.
    fn uses(&self) -> Vec<Used> {
        Vec::new()
    }
}

/// Rows by key.
///
/// Every change is recorded until the commit ends: a commit changes all that it is to change, or
/// nothing.
#[derive(Clone, Debug)]
pub struct Table<R: Row> {
    rows: BTreeMap<R::Key, R>,
    index: BTreeMap<R::Index, R::Key>,
    usage: Usage,
    /// Each change of the current commit: the key, and the row before the change.
    changes: Vec<(R::Key, Option<R>)>,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            index: BTreeMap::new(),
            usage: Usage::default(),
            changes: Vec::new(),
        }
    }
}

impl<R: Row> Table<R> {
    /// The row with this key.
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows, in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    /// The row with this entry in an index.
    pub fn find(&self, entry: &R::Index) -> Option<&R> {
        self.index.get(entry).and_then(|key| self.rows.get(key))
    }

    /// The rows with these entries, in the order of the index.
    pub fn range(
        &self,
        entries: impl RangeBounds<R::Index>,
    ) -> impl DoubleEndedIterator<Item = &R> {
        self.index
            .range(entries)
            .filter_map(|(_, key)| self.rows.get(key))
    }

    /// What its rows use.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Adds a row, or replaces the one with its key.
    pub(super) fn put(&mut self, row: R) {
        let key = row.key();
        let before = self.set(&key, Some(row));
        self.changes.push((key, before));
    }

    /// Changes a row. Returns whether there is one with this key.
    pub(super) fn change(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) -> bool {
        let Some(row) = self.rows.get(key) else {
            return false;
        };
        let mut changed = row.clone();
        change(&mut changed);
        if changed != *row {
            self.put(changed);
        }
        true
    }

    /// Deletes a row. Returns it.
    pub(super) fn remove(&mut self, key: &R::Key) -> Option<R> {
        let removed = self.set(key, None)?;
        self.changes.push((key.clone(), Some(removed.clone())));
        Some(removed)
    }

    /// Ends a commit that succeeded.
    pub(super) fn keep(&mut self) {
        self.changes.clear();
    }

    /// Ends a commit that failed: the table is as it was before.
    pub(super) fn undo(&mut self) {
        while let Some((key, before)) = self.changes.pop() {
            self.set(&key, before);
        }
    }

    fn set(&mut self, key: &R::Key, row: Option<R>) -> Option<R> {
        let before = self.rows.remove(key);
        if let Some(before) = &before {
            for entry in before.indexes() {
                self.index.remove(&entry);
            }
            for used in before.uses() {
                self.usage.subtract(&used);
            }
        }
        if let Some(row) = row {
            for used in row.uses() {
                self.usage.add(&used);
            }
            for entry in row.indexes() {
                self.index.insert(entry, key.clone());
            }
            self.rows.insert(key.clone(), row);
        }
        before
    }
}
