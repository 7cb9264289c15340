//! A table: rows by key, found by indexes, with what they use and what a commit changed.
//!
//! Its rows are in memory, or in an [`Archive`], of which it then holds what commits have read and
//! changed.

mod archived;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::Unwritten;
use super::usage::{Kind, Share, Usage, Used, Volume};
use crate::Standing;
use crate::cause::Cause;
use crate::rows::AgentId;
use archived::{Archived, Pages, is_empty_range};

pub use archived::{Archive, ArchiveError, Ends, Shares};

/// A row of a [`Table`].
pub trait Row: Clone + PartialEq {
    /// What identifies it.
    type Key: Clone + Ord;
    /// One of the ways to find it. An entry belongs to one row, so an index that is not unique
    /// ends with the row's key. A row has at most one entry in each index.
    type Index: Clone + Ord;

    /// Its key, which never changes.
    fn key(&self) -> Self::Key;

    /// Its entries in the indexes.
    fn indexes(&self) -> Vec<Self::Index>;

    /// Whether an entry is of an index of open rows: of those about which something is still to be
    /// done. A table over an archive keeps such an index in memory as a whole.
    fn is_open(_: &Self::Index) -> bool {
        false
    }

    /// What it uses of an agent's shared resources.
    fn uses(&self) -> Vec<Used> {
        Vec::new()
    }

    /// About how many bytes of others' content it holds.
    fn bytes(&self) -> usize {
        0
    }
}

/// Rows that changed: each key, and the row before the change.
type Changed<R> = Vec<(<R as Row>::Key, Option<Arc<R>>)>;

/// Rows by key.
///
/// Every change is recorded until the commit ends: a commit changes all that it is to change, or
/// nothing.
pub struct Table<R: Row> {
    place: Place<R>,
    /// Each change of the current commit: the key, and the row before the change.
    changes: Changed<R>,
}

enum Place<R: Row> {
    Memory(Memory<R>),
    Archive(Box<Archived<R>>),
}

/// All rows of a table.
struct Memory<R: Row> {
    rows: BTreeMap<R::Key, Arc<R>>,
    index: BTreeMap<R::Index, R::Key>,
    usage: Usage,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        let memory = Memory {
            rows: BTreeMap::new(),
            index: BTreeMap::new(),
            usage: Usage::default(),
        };
        Self {
            place: Place::Memory(memory),
            changes: Vec::new(),
        }
    }
}

impl<R: Row> Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl<R: Row> Table<R> {
    /// A table whose rows are in an archive.
    pub fn over(archive: Box<dyn Archive<R>>) -> Self {
        Self {
            place: Place::Archive(Box::new(Archived::new(archive))),
            changes: Vec::new(),
        }
    }

    /// The row with this key.
    pub fn get(&self, key: &R::Key) -> Option<Arc<R>> {
        match &self.place {
            Place::Memory(memory) => memory.rows.get(key).cloned(),
            Place::Archive(archived) => archived.get(key),
        }
    }

    /// The row with this entry in an index.
    pub fn find(&self, entry: &R::Index) -> Option<Arc<R>> {
        match &self.place {
            Place::Memory(memory) => {
                let key = memory.index.get(entry)?;
                memory.rows.get(key).cloned()
            }
            Place::Archive(archived) => archived.find(entry),
        }
    }

    /// The rows in a range of an index, in the order of the index.
    pub fn range(
        &self,
        entries: impl RangeBounds<R::Index>,
    ) -> Box<dyn Iterator<Item = Arc<R>> + '_> {
        let ends = ends(&entries);
        match &self.place {
            Place::Memory(memory) => Box::new(memory.range(ends)),
            // What cannot be read is an error of the query, and the others go on.
            Place::Archive(archived) if is_open::<R>(&ends) => {
                let rows = self.entries(ends);
                Box::new(rows.filter_map(|(_, key)| archived.get(&key)))
            }
            Place::Archive(archived) => Box::new(Pages::new(archived, ends)),
        }
    }

    /// The entries in a range of an index of open rows, in order, each with its row's key. No row is
    /// read for them, and each costs a seek when it is asked for.
    pub fn entries(
        &self,
        entries: impl RangeBounds<R::Index>,
    ) -> impl Iterator<Item = (R::Index, R::Key)> {
        let mut ends = ends(&entries);
        std::iter::from_fn(move || {
            let (entry, key) = match &self.place {
                Place::Memory(memory) => first(&memory.index, &ends),
                Place::Archive(archived) => archived.first_open(&ends),
            }?;
            ends.0 = Bound::Excluded(entry.clone());
            Some((entry, key))
        })
    }

    /// The last row in a range of an index.
    pub fn last(&self, entries: impl RangeBounds<R::Index>) -> Option<Arc<R>> {
        let ends = ends(&entries);
        match &self.place {
            Place::Memory(memory) => memory.range(ends).next_back(),
            Place::Archive(archived) => archived.last(&ends),
        }
    }

    /// All rows of a table in memory, in the order of their keys; none of an archive.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        let memory = match &self.place {
            Place::Memory(memory) => Some(memory.rows.values()),
            Place::Archive(_) => None,
        };
        memory.into_iter().flatten().map(|row| &**row)
    }

    /// What the rows of a table in memory use.
    pub fn usage(&self) -> Option<&Usage> {
        match &self.place {
            Place::Memory(memory) => Some(&memory.usage),
            Place::Archive(_) => None,
        }
    }

    /// Adds a row, or replaces the one with its key.
    pub(super) fn put(&mut self, row: R) {
        let key = row.key();
        let before = self.set(&key, Some(Arc::new(row)));
        self.changes.push((key, before));
    }

    /// Changes a row. Returns whether there is one with this key.
    pub(super) fn change(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) -> bool {
        let Some(row) = self.get(key) else {
            return false;
        };
        let mut changed = R::clone(&row);
        change(&mut changed);
        if changed != *row {
            self.put(changed);
        }
        true
    }

    /// Deletes a row. Returns it.
    pub(super) fn remove(&mut self, key: &R::Key) -> Option<Arc<R>> {
        let removed = self.set(key, None)?;
        self.changes.push((key.clone(), Some(Arc::clone(&removed))));
        Some(removed)
    }

    /// Writes what commits have changed.
    ///
    /// # Errors
    /// The first error of the archive.
    pub(super) fn write(&self) -> Result<(), ArchiveError> {
        let Place::Archive(archived) = &self.place else {
            return Ok(());
        };
        archived.write();
        self.fault()
    }

    /// What the archive lacks.
    pub(super) fn unwritten(&self) -> Unwritten {
        match &self.place {
            Place::Memory(_) => Unwritten::default(),
            Place::Archive(archived) => archived.unwritten(),
        }
    }

    /// The first error of the archive in the current commit or query.
    pub(super) fn fault(&self) -> Result<(), ArchiveError> {
        match &self.place {
            Place::Memory(_) => Ok(()),
            Place::Archive(archived) => archived.fault(),
        }
    }

    /// Whether the current commit has made a row other than it was before.
    pub(super) fn is_changed(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.changes
            .iter()
            .any(|(key, before)| seen.insert(key) && self.get(key) != *before)
    }

    /// The rows that the current commit has changed and not deleted, each with the row before.
    pub(super) fn changed(&self) -> Vec<(Option<Arc<R>>, Arc<R>)> {
        let mut seen = BTreeSet::new();
        let first = self.changes.iter().filter(|(key, _)| seen.insert(key));
        first
            .filter_map(|(key, before)| Some((before.clone(), self.get(key)?)))
            .collect()
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
        if let Place::Archive(archived) = &self.place {
            archived.undo();
        }
    }

    /// Forgets the rows of an archive, and what was not written of them, and reads its open rows.
    /// Returns why one of them cannot be read, if so: it is left out.
    pub(super) fn reload(&mut self) -> Result<Option<ArchiveError>, ArchiveError> {
        match &self.place {
            Place::Memory(_) => Ok(None),
            Place::Archive(archived) => archived.reload(),
        }
    }

    /// Forgets the rows of an archive if they take much memory. All changes must be written.
    pub(super) fn trim(&mut self) {
        if let Place::Archive(archived) = &self.place {
            archived.trim();
        }
    }

    fn set(&mut self, key: &R::Key, row: Option<Arc<R>>) -> Option<Arc<R>> {
        match &mut self.place {
            Place::Memory(memory) => memory.set(key, row),
            Place::Archive(archived) => archived.set(key, row),
        }
    }
}

/// What the rows of a table use of the resources that agents' senders share.
pub(super) trait Shared {
    /// How much of a resource a share is.
    fn used(&self, agent: AgentId, kind: Kind, share: Share) -> Volume;

    /// The sender of a standing who uses most; of several, the first by address.
    fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause>;
}

impl<R: Row> Shared for Table<R> {
    fn used(&self, agent: AgentId, kind: Kind, share: Share) -> Volume {
        match &self.place {
            Place::Memory(memory) => memory.usage.of(agent, kind, share),
            Place::Archive(archived) => archived.used(&(agent, kind, share)),
        }
    }

    fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause> {
        match &self.place {
            Place::Memory(memory) => memory.usage.most(agent, kind, standing),
            Place::Archive(archived) => archived.most(agent, kind, standing),
        }
    }
}

impl<R: Row> Memory<R> {
    fn range(&self, ends: Ends<R::Index>) -> impl DoubleEndedIterator<Item = Arc<R>> {
        // A range that ends before it begins would panic.
        let found = (!is_empty_range(&ends)).then(|| self.index.range(ends));
        let keys = found.into_iter().flatten().map(|(_, key)| key);
        keys.filter_map(|key| self.rows.get(key).cloned())
    }

    fn set(&mut self, key: &R::Key, row: Option<Arc<R>>) -> Option<Arc<R>> {
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

/// Whether a range is one of an index of open rows.
fn is_open<R: Row>((from, to): &Ends<R::Index>) -> bool {
    [from, to].into_iter().any(|end| match end {
        Bound::Included(entry) | Bound::Excluded(entry) => R::is_open(entry),
        Bound::Unbounded => false,
    })
}

/// The first entry in a range, and its row's key.
fn first<I: Clone + Ord, K: Clone>(index: &BTreeMap<I, K>, ends: &Ends<I>) -> Option<(I, K)> {
    // A range that ends before it begins would panic.
    if is_empty_range(ends) {
        return None;
    }
    let (entry, key) = index.range((ends.0.as_ref(), ends.1.as_ref())).next()?;
    Some((entry.clone(), key.clone()))
}

fn ends<I: Clone>(entries: &impl RangeBounds<I>) -> Ends<I> {
    (entries.start_bound().cloned(), entries.end_bound().cloned())
}
