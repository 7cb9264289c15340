//! A table: rows by key, found by indexes, with what they use and what a commit changed.
//!
//! Its rows are in memory, or in an [`Archive`], of which it then holds what a commit reads and
//! changes.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::{self, Debug};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::usage::{Amount, Kind, Share, Usage, Used};
use crate::Standing;
use crate::cause::Cause;
use crate::rows::AgentId;

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

    /// What it uses of an agent's shared resources.
    fn uses(&self) -> Vec<Used> {
        Vec::new()
    }
}

/// The ends of a range of entries, both in the same index.
pub type Ends<I> = (Bound<I>, Bound<I>);

/// Why an archive cannot be read or written.
pub type ArchiveError = Box<dyn Error + Send + Sync>;

/// Where the rows of a table are kept outside of memory.
///
/// A table that has an archive writes what a commit has changed before it asks for more than a
/// single row, and when the commit ends. The archive's owner undoes the writes of a commit that
/// was refused.
pub trait Archive<R: Row>: Shares + Debug + Send {
    /// The row with a key.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn get(&self, key: &R::Key) -> Result<Option<R>, ArchiveError>;

    /// The row with an entry in an index.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn find(&self, entry: &R::Index) -> Result<Option<R>, ArchiveError>;

    /// The first rows of a range, at most `limit`, in the order of the index.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn first(&self, ends: &Ends<R::Index>, limit: usize) -> Result<Vec<R>, ArchiveError>;

    /// The last row of a range.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn last(&self, ends: &Ends<R::Index>) -> Result<Option<R>, ArchiveError>;

    /// Adds a row (`before` is `None`), changes it, or deletes it (`after` is `None`).
    ///
    /// # Errors
    /// The archive cannot be written, or not with this row.
    fn write(&self, before: Option<&R>, after: Option<&R>) -> Result<(), ArchiveError>;
}

/// What the rows of an archive use of agents' shared resources.
pub trait Shares {
    /// How much of a resource a share is.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn used(&self, agent: AgentId, kind: Kind, share: &Share) -> Result<Amount, ArchiveError>;

    /// The sender of a standing who uses most; of several, the first by address.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn most(
        &self,
        agent: AgentId,
        kind: Kind,
        standing: Standing,
    ) -> Result<Option<Cause>, ArchiveError>;
}

/// Rows by key.
///
/// Every change is recorded until the commit ends: a commit changes all that it is to change, or
/// nothing.
pub struct Table<R: Row> {
    place: Place<R>,
    /// Each change of the current commit: the key, and the row before the change.
    changes: Vec<(R::Key, Option<Arc<R>>)>,
}

enum Place<R: Row> {
    Memory(Memory<R>),
    Archive(Archived<R>),
}

/// All rows of a table.
struct Memory<R: Row> {
    rows: BTreeMap<R::Key, Arc<R>>,
    index: BTreeMap<R::Index, R::Key>,
    usage: Usage,
}

/// The rows of an archive that were read or changed.
struct Archived<R: Row> {
    archive: Box<dyn Archive<R>>,
    known: RefCell<BTreeMap<R::Key, Option<Arc<R>>>>,
    /// The rows that changed, as the archive has them.
    unwritten: RefCell<BTreeMap<R::Key, Option<Arc<R>>>>,
    /// The first error of the archive in the current commit.
    fault: RefCell<Option<ArchiveError>>,
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
        let archived = Archived {
            archive,
            known: RefCell::default(),
            unwritten: RefCell::default(),
            fault: RefCell::default(),
        };
        Self {
            place: Place::Archive(archived),
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
            Place::Archive(archived) => Box::new(Pages {
                archived,
                ends,
                page: VecDeque::new(),
                size: 1,
            }),
        }
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

    /// How much of a resource a share is.
    pub(super) fn used(&self, agent: AgentId, kind: Kind, share: Share) -> Amount {
        match &self.place {
            Place::Memory(memory) => memory.usage.of(agent, kind, share),
            Place::Archive(archived) => {
                archived.write();
                archived.read(archived.archive.used(agent, kind, &share))
            }
        }
    }

    /// The sender of a standing who uses most; of several, the first by address.
    pub(super) fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause> {
        match &self.place {
            Place::Memory(memory) => memory.usage.most(agent, kind, standing),
            Place::Archive(archived) => {
                archived.write();
                archived.read(archived.archive.most(agent, kind, standing))
            }
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

    /// Writes what the current commit has changed.
    ///
    /// # Errors
    /// The first error of the archive in this commit.
    pub(super) fn write(&mut self) -> Result<(), ArchiveError> {
        let Place::Archive(archived) = &self.place else {
            return Ok(());
        };
        archived.write();
        archived.fault.take().map_or(Ok(()), Err)
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
            archived.unwritten.borrow_mut().clear();
            archived.fault.take();
        }
    }

    /// Forgets the rows of an archive.
    pub(super) fn forget(&mut self) {
        if let Place::Archive(archived) = &self.place {
            archived.known.borrow_mut().clear();
        }
    }

    fn set(&mut self, key: &R::Key, row: Option<Arc<R>>) -> Option<Arc<R>> {
        match &mut self.place {
            Place::Memory(memory) => memory.set(key, row),
            Place::Archive(archived) => archived.set(key, row),
        }
    }
}

impl<R: Row> Memory<R> {
    fn range(&self, (from, to): Ends<R::Index>) -> impl DoubleEndedIterator<Item = Arc<R>> {
        // A range that ends before it begins would panic.
        let is_empty = match (&from, &to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from > to,
        };
        let found = (!is_empty).then(|| self.index.range((from, to)));
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

impl<R: Row> Archived<R> {
    /// What was read; nothing after an error, which ends the commit.
    fn read<T: Default>(&self, read: Result<T, ArchiveError>) -> T {
        read.unwrap_or_else(|error| {
            self.fault.borrow_mut().get_or_insert(error);
            T::default()
        })
    }

    fn get(&self, key: &R::Key) -> Option<Arc<R>> {
        if let Some(known) = self.known.borrow().get(key) {
            return known.clone();
        }
        let row = self.read(self.archive.get(key)).map(Arc::new);
        self.known.borrow_mut().insert(key.clone(), row.clone());
        row
    }

    fn find(&self, entry: &R::Index) -> Option<Arc<R>> {
        self.write();
        let row = self.read(self.archive.find(entry))?;
        Some(self.learn(row))
    }

    fn last(&self, ends: &Ends<R::Index>) -> Option<Arc<R>> {
        self.write();
        let row = self.read(self.archive.last(ends))?;
        Some(self.learn(row))
    }

    fn learn(&self, row: R) -> Arc<R> {
        let row = Arc::new(row);
        let known = Some(Arc::clone(&row));
        self.known.borrow_mut().insert(row.key(), known);
        row
    }

    fn set(&mut self, key: &R::Key, row: Option<Arc<R>>) -> Option<Arc<R>> {
        let before = self.get(key);
        let unwritten = self.unwritten.get_mut();
        unwritten
            .entry(key.clone())
            .or_insert_with(|| before.clone());
        self.known.get_mut().insert(key.clone(), row);
        before
    }

    /// Writes the rows that changed: first those that are deleted, which may have made room in a
    /// unique index.
    fn write(&self) {
        let unwritten = self.unwritten.take();
        if unwritten.is_empty() {
            return;
        }
        let known = self.known.borrow();
        let now = |key| known.get(key).and_then(Option::as_deref);
        for deletes in [true, false] {
            for (key, before) in &unwritten {
                let (before, after) = (before.as_deref(), now(key));
                if after.is_none() == deletes && before != after {
                    self.read(self.archive.write(before, after));
                }
            }
        }
    }
}

/// The rows in a range of an archive, read as they are asked for.
struct Pages<'a, R: Row> {
    archived: &'a Archived<R>,
    /// What was not read yet.
    ends: Ends<R::Index>,
    page: VecDeque<Arc<R>>,
    /// How many rows the next page has; 0 after the last.
    size: usize,
}

/// The largest page, in rows.
const PAGE: usize = 256;

impl<R: Row> Iterator for Pages<'_, R> {
    type Item = Arc<R>;

    fn next(&mut self) -> Option<Arc<R>> {
        if self.page.is_empty() && self.size > 0 {
            self.archived.write();
            let read = self.archived.archive.first(&self.ends, self.size);
            let read = self.archived.read(read);
            let is_full = read.len() == self.size;
            // Often only the first is of interest.
            self.size = if is_full {
                (self.size * 4).min(PAGE)
            } else {
                0
            };
            if let Some(last) = read.last() {
                let entries = last.indexes();
                let read_to = entries
                    .into_iter()
                    .find(|entry| contains(&self.ends, entry));
                match read_to {
                    Some(entry) => self.ends.0 = Bound::Excluded(entry),
                    None => self.size = 0,
                }
            }
            self.page = read
                .into_iter()
                .map(|row| self.archived.learn(row))
                .collect();
        }
        self.page.pop_front()
    }
}

fn ends<I: Clone>(entries: &impl RangeBounds<I>) -> Ends<I> {
    (entries.start_bound().cloned(), entries.end_bound().cloned())
}

fn contains<I: Ord>((from, to): &Ends<I>, entry: &I) -> bool {
    let starts = match from {
        Bound::Included(from) => from <= entry,
        Bound::Excluded(from) => from < entry,
        Bound::Unbounded => true,
    };
    let ends = match to {
        Bound::Included(to) => entry <= to,
        Bound::Excluded(to) => entry < to,
        Bound::Unbounded => true,
    };
    starts && ends
}
