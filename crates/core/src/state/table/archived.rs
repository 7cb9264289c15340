//! A table whose rows are in an archive.
//!
//! It remembers the rows that commits have read and changed, and what they use of shared resources.
//! What changed is written when the archive's owner asks for it. Until then, what is read is what the
//! archive has, but for the rows that changed.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use super::{Row, first};
use crate::Standing;
use crate::cause::Cause;
use crate::rows::AgentId;
use crate::state::Unwritten;
use crate::state::usage::{Kind, Share, Used, Volume, shares};

/// The ends of a range of entries, both in the same index.
pub type Ends<I> = (Bound<I>, Bound<I>);

/// Why an archive cannot be read or written.
pub type ArchiveError = Box<dyn Error + Send + Sync>;

/// Where the rows of a table are kept outside of memory.
///
/// A table that has an archive keeps what commits have changed until its owner asks it to write.
pub trait Archive<R: Row>: Shares + Debug + Send {
    /// The row with a key.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn get(&self, key: &R::Key) -> Result<Option<R>, ArchiveError>;

    /// Reads all rows that may have an entry in an [index of open rows](Row::is_open). A row that
    /// cannot be read is an error of that row.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn open(&self, row: &mut dyn FnMut(Result<R, ArchiveError>)) -> Result<(), ArchiveError>;

    /// The key of the row with an entry in an index, unless it is one of open rows.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn find(&self, entry: &R::Index) -> Result<Option<R::Key>, ArchiveError>;

    /// The keys of the first rows of a range, at most `limit`, in the order of the index.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn first(&self, ends: &Ends<R::Index>, limit: usize) -> Result<Vec<R::Key>, ArchiveError>;

    /// The key of the last row of a range.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn last(&self, ends: &Ends<R::Index>) -> Result<Option<R::Key>, ArchiveError>;

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
    fn used(&self, agent: AgentId, kind: Kind, share: &Share) -> Result<Volume, ArchiveError>;

    /// The senders of a standing who use most, at most `limit`, each with its bytes: the one with
    /// most bytes first; of several, the first by address.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn most(
        &self,
        agent: AgentId,
        kind: Kind,
        standing: Standing,
        limit: usize,
    ) -> Result<Vec<(Cause, u64)>, ArchiveError>;

    /// Stores how much of a resource a share is.
    ///
    /// # Errors
    /// The archive cannot be written.
    fn set_used(
        &self,
        agent: AgentId,
        kind: Kind,
        share: &Share,
        amount: Volume,
    ) -> Result<(), ArchiveError>;
}

/// Values of an archive that were read or changed.
struct Remembered<K, V> {
    known: BTreeMap<K, V>,
    /// Those that changed, as the archive has them.
    unwritten: BTreeMap<K, V>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            unwritten: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V: PartialEq> Remembered<K, V> {
    /// Changes a value, which was `before`.
    fn set(&mut self, key: K, before: V, value: V) {
        self.unwritten.entry(key.clone()).or_insert(before);
        self.known.insert(key, value);
    }

    /// What is different in the archive: each key, the value there, and the value.
    fn changed(&self) -> impl Iterator<Item = (&K, &V, &V)> {
        let all = self.unwritten.iter();
        let all = all.filter_map(|(key, there)| Some((key, there, self.known.get(key)?)));
        all.filter(|(_, there, now)| there != now)
    }
}

/// The rows of an archive that were read or changed, and what they use.
pub(super) struct Archived<R: Row> {
    archive: Box<dyn Archive<R>>,
    rows: RefCell<Remembered<R::Key, Option<Arc<R>>>>,
    /// The entries of the rows that changed, in other indexes than those of open rows.
    entries: RefCell<BTreeMap<R::Index, R::Key>>,
    /// The indexes of open rows.
    open: RefCell<BTreeMap<R::Index, R::Key>>,
    shares: RefCell<Remembered<ShareKey, Volume>>,
    /// About how many bytes are remembered.
    bytes: Cell<usize>,
    /// Whether the archive has no row, if that is known.
    empty: Cell<Option<bool>>,
    /// The first error of the archive in the current commit.
    fault: RefCell<Option<ArchiveError>>,
}

type ShareKey = (AgentId, Kind, Share);

impl<R: Row> Archived<R> {
    pub(super) fn new(archive: Box<dyn Archive<R>>) -> Self {
        Self {
            archive,
            rows: RefCell::default(),
            entries: RefCell::default(),
            open: RefCell::default(),
            shares: RefCell::default(),
            bytes: Cell::default(),
            empty: Cell::default(),
            fault: RefCell::default(),
        }
    }

    /// The first error since the last call.
    pub(super) fn fault(&self) -> Result<(), ArchiveError> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// What was read or written. An error ends the commit; nothing of it is remembered.
    fn check<T>(&self, result: Result<T, ArchiveError>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(error) => {
                self.fault.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    /// Whether the archive has no row.
    fn is_empty(&self) -> bool {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let read = || self.check(self.archive.first(&all, 1));
        let empty = self
            .empty
            .get()
            .or_else(|| read().map(|first| first.is_empty()));
        self.empty.set(empty);
        empty.unwrap_or(false)
    }

    pub(super) fn get(&self, key: &R::Key) -> Option<Arc<R>> {
        if let Some(known) = self.rows.borrow().known.get(key) {
            return known.clone();
        }
        if self.is_empty() {
            return None;
        }
        let row = self.check(self.archive.get(key))?.map(Arc::new);
        self.count_bytes(row.as_deref(), None);
        let mut rows = self.rows.borrow_mut();
        rows.known.insert(key.clone(), row.clone());
        row
    }

    /// Counts a row that is remembered, in place of another.
    fn count_bytes(&self, row: Option<&R>, forgotten: Option<&R>) {
        let bytes = |row: Option<&R>| row.map_or(0, |row| row.bytes() + size_of::<R>());
        let all = self.bytes.get().saturating_add(bytes(row));
        self.bytes.set(all.saturating_sub(bytes(forgotten)));
    }

    /// The first entry in a range of an index of open rows, and its row's key.
    pub(super) fn first_open(&self, ends: &Ends<R::Index>) -> Option<(R::Index, R::Key)> {
        first(&self.open.borrow(), ends)
    }

    pub(super) fn find(&self, entry: &R::Index) -> Option<Arc<R>> {
        if R::is_open(entry) {
            let key = self.open.borrow().get(entry).cloned()?;
            return self.get(&key);
        }
        if let Some(key) = self.entries.borrow().get(entry) {
            return self.get(key);
        }
        if self.is_empty() {
            return None;
        }
        let key = self.check(self.archive.find(entry))??;
        // A row that has changed has another entry now, or none.
        if self.rows.borrow().unwritten.contains_key(&key) {
            return None;
        }
        self.get(&key)
    }

    pub(super) fn last(&self, ends: &Ends<R::Index>) -> Option<Arc<R>> {
        let changed = self.changed_in(ends).pop_back();
        let mut ends = ends.clone();
        let stored = loop {
            if self.is_empty() {
                break None;
            }
            let Some(key) = self.check(self.archive.last(&ends)).flatten() else {
                break None;
            };
            let (entry, row) = self.place(&key, &ends)?;
            match row {
                Some(row) => break Some((entry, row)),
                None => ends.1 = Bound::Excluded(entry),
            }
        };
        let changed = changed.and_then(|(entry, key)| Some((entry, self.get(&key)?)));
        let last = stored.into_iter().chain(changed);
        last.max_by(|(one, _), (other, _)| one.cmp(other))
            .map(|(_, row)| row)
    }

    /// The entries of the rows that changed in a range, in order.
    fn changed_in(&self, ends: &Ends<R::Index>) -> VecDeque<(R::Index, R::Key)> {
        if is_empty_range(ends) {
            return VecDeque::new();
        }
        let entries = self.entries.borrow();
        let found = entries.range(ends.clone());
        found
            .map(|(entry, key)| (entry.clone(), key.clone()))
            .collect()
    }

    /// The entry in a range of a row that the archive has there, and the row, unless it has changed.
    fn place(&self, key: &R::Key, ends: &Ends<R::Index>) -> Option<(R::Index, Option<Arc<R>>)> {
        let changed = self.rows.borrow().unwritten.get(key).cloned();
        let (there, row) = match changed {
            Some(there) => (there?, None),
            None => {
                let row = self.get(key)?;
                (Arc::clone(&row), Some(row))
            }
        };
        let mut entries = there.indexes().into_iter();
        let entry = entries.find(|entry| contains(ends, entry))?;
        Some((entry, row))
    }

    pub(super) fn set(&self, key: &R::Key, row: Option<Arc<R>>) -> Option<Arc<R>> {
        let before = self.get(key);
        let (used, uses) = (uses(before.as_deref()), uses(row.as_deref()));
        if used != uses {
            used.iter()
                .for_each(|used| self.count(used, Volume::subtract));
            uses.iter().for_each(|used| self.count(used, Volume::add));
        }
        let mut entries = self.entries.borrow_mut();
        let mut open = self.open.borrow_mut();
        let mut rows = self.rows.borrow_mut();
        let (old, new) = (indexes(before.as_deref()), indexes(row.as_deref()));
        // The other entries of a row that had not changed are those of the archive.
        let is_known = rows.unwritten.contains_key(key);
        self.count_bytes(row.as_deref(), before.as_deref().filter(|_| is_known));
        for entry in old.iter().filter(|entry| !new.contains(entry)) {
            if R::is_open(entry) {
                open.remove(entry);
            } else if is_known {
                entries.remove(entry);
            }
        }
        for entry in new {
            let is_open = R::is_open(&entry);
            if (is_open || is_known) && old.contains(&entry) {
                continue;
            }
            let index = if is_open { &mut open } else { &mut entries };
            index.insert(entry, key.clone());
        }
        rows.set(key.clone(), before.clone(), row);
        before
    }

    pub(super) fn used(&self, share: &ShareKey) -> Volume {
        if let Some(known) = self.shares.borrow().known.get(share) {
            return *known;
        }
        let (agent, kind, of) = share;
        let Some(amount) = self.check(self.archive.used(*agent, *kind, of)) else {
            return Volume::default();
        };
        let mut shares = self.shares.borrow_mut();
        shares.known.insert(share.clone(), amount);
        amount
    }

    pub(super) fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause> {
        let shares = self.shares.borrow();
        let changed = shares.unwritten.keys().filter_map(|key| match key {
            (of, what, Share::One(cause @ Cause::Sender(sort, _)))
                if (*of, *what, *sort) == (agent, kind, standing) =>
            {
                let amount = shares.known.get(key).copied().unwrap_or_default();
                Some((cause.clone(), amount))
            }
            _ => None,
        });
        let changed: BTreeMap<Cause, Volume> = changed.collect();
        let limit = changed.len().saturating_add(1);
        let stored = self.check(self.archive.most(agent, kind, standing, limit))?;
        let stored = stored
            .into_iter()
            .filter(|(cause, _)| !changed.contains_key(cause));
        let used = changed.iter().filter(|(_, amount)| amount.items > 0);
        let used = used.map(|(cause, amount)| (cause.clone(), amount.bytes));
        let all = stored.chain(used);
        all.min_by_key(|(cause, bytes)| (Reverse(*bytes), cause.clone()))
            .map(|(cause, _)| cause)
    }

    /// Changes the shares that something belongs to.
    fn count(&self, used: &Used, change: impl Fn(&mut Volume, u64)) {
        for share in shares(&used.cause) {
            let key = (used.agent, used.kind, share);
            let before = self.used(&key);
            let mut amount = before;
            change(&mut amount, used.bytes);
            self.shares.borrow_mut().set(key, before, amount);
        }
    }

    /// Writes everything that changed: first the rows that are deleted, which may have made room in
    /// a unique index.
    pub(super) fn write(&self) {
        let mut rows = self.rows.borrow_mut();
        let mut shares = self.shares.borrow_mut();
        if rows.unwritten.is_empty() && shares.unwritten.is_empty() {
            return;
        }
        let changed: Vec<_> = rows.changed().collect();
        for deletes in [true, false] {
            for (_, before, after) in &changed {
                if after.is_none() == deletes {
                    self.check(self.archive.write(before.as_deref(), after.as_deref()));
                }
            }
        }
        for ((agent, kind, of), _, amount) in shares.changed() {
            self.check(self.archive.set_used(*agent, *kind, of, *amount));
        }
        rows.unwritten.clear();
        shares.unwritten.clear();
        self.entries.borrow_mut().clear();
        self.empty.set(None);
    }

    pub(super) fn unwritten(&self) -> Unwritten {
        Unwritten {
            rows: self.rows.borrow().unwritten.len(),
            bytes: self.bytes.get(),
        }
    }

    /// Forgets the error of a commit that is undone.
    pub(super) fn undo(&self) {
        self.fault.take();
    }

    pub(super) fn reload(&self) -> Result<Option<ArchiveError>, ArchiveError> {
        self.forget();
        self.fault.take();
        let mut open = BTreeMap::new();
        let mut unreadable = None;
        self.archive.open(&mut |row| match row {
            Ok(row) => {
                let entries = row.indexes().into_iter().filter(|entry| R::is_open(entry));
                open.extend(entries.map(|entry| (entry, row.key())));
            }
            Err(error) => unreadable = Some(error),
        })?;
        self.open.replace(open);
        Ok(unreadable)
    }

    /// Forgets the rows, but not which are open.
    fn forget(&self) {
        self.rows.take();
        self.entries.take();
        self.shares.take();
        self.bytes.set(0);
        self.empty.set(None);
    }

    /// Forgets the rows if they take much memory. All changes must be written.
    pub(super) fn trim(&self) {
        if self.bytes.get() > MOST_BYTES || self.shares.borrow().known.len() > MOST_SHARES {
            self.forget();
        }
    }
}

/// How many bytes of an archive's rows a table remembers after a group of commits.
const MOST_BYTES: usize = 4 << 20;

/// How many shares a table remembers after a group of commits.
const MOST_SHARES: usize = 16_384;

/// The rows in a range, read from the archive as they are asked for.
pub(super) struct Pages<'a, R: Row> {
    archived: &'a Archived<R>,
    /// What was not read of the archive yet.
    ends: Ends<R::Index>,
    /// The rows of the archive that were read and have not changed.
    page: VecDeque<(R::Index, Arc<R>)>,
    /// The entries of the rows that changed.
    changed: VecDeque<(R::Index, R::Key)>,
    /// How many rows the next page has; 0 after the last.
    size: usize,
}

impl<'a, R: Row> Pages<'a, R> {
    pub(super) fn new(archived: &'a Archived<R>, ends: Ends<R::Index>) -> Self {
        Self {
            archived,
            changed: archived.changed_in(&ends),
            ends,
            page: VecDeque::new(),
            size: 2,
        }
    }

    fn read(&mut self) {
        if self.archived.is_empty() {
            self.size = 0;
            return;
        }
        let keys = self.archived.archive.first(&self.ends, self.size);
        let keys = self.archived.check(keys).unwrap_or_default();
        let is_full = keys.len() == self.size;
        // Often only the first is of interest, or there is only one.
        self.size = if is_full {
            (self.size * 4).min(PAGE)
        } else {
            0
        };
        for key in keys {
            let Some((entry, row)) = self.archived.place(&key, &self.ends) else {
                self.size = 0;
                return;
            };
            self.ends.0 = Bound::Excluded(entry.clone());
            self.page.extend(row.map(|row| (entry, row)));
        }
    }
}

/// The largest page, in rows.
const PAGE: usize = 256;

impl<R: Row> Iterator for Pages<'_, R> {
    type Item = Arc<R>;

    fn next(&mut self) -> Option<Arc<R>> {
        while self.page.is_empty() && self.size > 0 {
            self.read();
        }
        let is_changed = match (self.page.front(), self.changed.front()) {
            (Some((stored, _)), Some((changed, _))) => changed < stored,
            (stored, _) => stored.is_none(),
        };
        if is_changed {
            let (_, key) = self.changed.pop_front()?;
            return self.archived.get(&key);
        }
        self.page.pop_front().map(|(_, row)| row)
    }
}

/// Whether a range ends before it begins.
pub(super) fn is_empty_range<I: Ord>((from, to): &Ends<I>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from > to,
    }
}

fn indexes<R: Row>(row: Option<&R>) -> Vec<R::Index> {
    row.map_or_else(Vec::new, Row::indexes)
}

fn uses<R: Row>(row: Option<&R>) -> Vec<Used> {
    row.map_or_else(Vec::new, Row::uses)
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

#[cfg(test)]
mod tests;
