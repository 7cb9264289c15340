//! A table whose rows are in an archive.
//!
//! It remembers the rows that commits have read and changed, and what they use of shared resources.
//! What changed is written when the archive's owner asks for it, or earlier if a commit asks for a range
//! of an index: only the archive knows which rows are in it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use super::Row;
use crate::Standing;
use crate::cause::Cause;
use crate::rows::AgentId;
use crate::state::usage::{Amount, Kind, Share, Used, shares};

/// The ends of a range of entries, both in the same index.
pub type Ends<I> = (Bound<I>, Bound<I>);

/// Why an archive cannot be read or written.
pub type ArchiveError = Box<dyn Error + Send + Sync>;

/// Where the rows of a table are kept outside of memory.
///
/// A table that has an archive keeps what commits have changed until its owner asks it to write, or
/// until a commit asks for a range of an index. If the commit is refused after that, the archive's
/// owner must undo what was written since the commit began.
pub trait Archive<R: Row>: Shares + Debug + Send {
    /// The row with a key.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn get(&self, key: &R::Key) -> Result<Option<R>, ArchiveError>;

    /// The key of the row with an entry in an index.
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

    /// Stores how much of a resource a share is.
    ///
    /// # Errors
    /// The archive cannot be written.
    fn set_used(
        &self,
        agent: AgentId,
        kind: Kind,
        share: &Share,
        amount: Amount,
    ) -> Result<(), ArchiveError>;
}

/// Values of an archive that were read or changed.
struct Remembered<K, V> {
    known: BTreeMap<K, V>,
    /// Those that changed, as the archive has them.
    unwritten: BTreeMap<K, V>,
    /// Those that the current commit wrote, as the archive had them before it.
    written: Vec<(K, V)>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            written: Vec::new(),
        }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Remembered<K, V> {
    /// Changes a value, which was `before`.
    fn set(&mut self, key: K, before: V, value: V) {
        self.unwritten.entry(key.clone()).or_insert(before);
        self.known.insert(key, value);
    }

    /// Counts everything that changed as written. Returns how much was written before.
    fn write(&mut self) -> usize {
        let begin = self.written.len();
        self.written.extend(std::mem::take(&mut self.unwritten));
        begin
    }

    /// What was written from there on and is different now: each key, the value before, and the value.
    fn written_from(&self, begin: usize) -> impl Iterator<Item = (&K, &V, &V)> {
        let written = self.written.iter().skip(begin);
        let all = written.filter_map(|(key, before)| Some((key, before, self.known.get(key)?)));
        all.filter(|(_, before, now)| before != now)
    }

    /// What was written stays written.
    fn settle(&mut self) {
        self.written.clear();
    }

    /// What the current commit wrote is undone in the archive; the known values are as before it
    /// already. Returns the keys.
    fn unwrite(&mut self) -> Vec<K> {
        let written = std::mem::take(&mut self.written);
        let keys = written.iter().map(|(key, _)| key.clone()).collect();
        // The archive has what it had before the first time.
        self.unwritten.extend(written.into_iter().rev());
        keys
    }
}

/// The rows of an archive that were read or changed, and what they use.
pub(super) struct Archived<R: Row> {
    archive: Box<dyn Archive<R>>,
    rows: RefCell<Remembered<R::Key, Option<Arc<R>>>>,
    /// The entries of the rows that changed.
    entries: RefCell<BTreeMap<R::Index, R::Key>>,
    shares: RefCell<Remembered<ShareKey, Amount>>,
    /// About how many bytes were read and changed since the table forgot its rows last.
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

    /// Whether there is no row, written or not.
    fn is_empty(&self) -> bool {
        if !self.rows.borrow().unwritten.is_empty() {
            return false;
        }
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
        self.count_bytes(row.as_deref());
        let mut rows = self.rows.borrow_mut();
        rows.known.insert(key.clone(), row.clone());
        row
    }

    fn count_bytes(&self, row: Option<&R>) {
        let bytes = row.map_or(0, Row::bytes).saturating_add(size_of::<R>());
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    pub(super) fn find(&self, entry: &R::Index) -> Option<Arc<R>> {
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
        self.write();
        if self.is_empty() {
            return None;
        }
        let key = self.check(self.archive.last(ends))??;
        self.get(&key)
    }

    pub(super) fn set(&self, key: &R::Key, row: Option<Arc<R>>) -> Option<Arc<R>> {
        let before = self.get(key);
        for used in before.iter().flat_map(|row| row.uses()) {
            self.count(&used, Amount::subtract);
        }
        for used in row.iter().flat_map(|row| row.uses()) {
            self.count(&used, Amount::add);
        }
        self.count_bytes(row.as_deref());
        let mut entries = self.entries.borrow_mut();
        let mut rows = self.rows.borrow_mut();
        if rows.unwritten.contains_key(key) {
            for entry in before.iter().flat_map(|row| row.indexes()) {
                entries.remove(&entry);
            }
        }
        for entry in row.iter().flat_map(|row| row.indexes()) {
            entries.insert(entry, key.clone());
        }
        rows.set(key.clone(), before.clone(), row);
        before
    }

    pub(super) fn used(&self, share: &ShareKey) -> Amount {
        if let Some(known) = self.shares.borrow().known.get(share) {
            return *known;
        }
        let (agent, kind, of) = share;
        let Some(amount) = self.check(self.archive.used(*agent, *kind, of)) else {
            return Amount::default();
        };
        let mut shares = self.shares.borrow_mut();
        shares.known.insert(share.clone(), amount);
        amount
    }

    pub(super) fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause> {
        self.write_shares();
        self.check(self.archive.most(agent, kind, standing))?
    }

    /// Changes the shares that something belongs to.
    fn count(&self, used: &Used, change: impl Fn(&mut Amount, u64)) {
        for share in shares(&used.cause) {
            let key = (used.agent, used.kind, share);
            let before = self.used(&key);
            let mut amount = before;
            change(&mut amount, used.bytes);
            self.shares.borrow_mut().set(key, before, amount);
        }
    }

    /// Writes everything that changed, for good.
    pub(super) fn write_all(&self) {
        self.write();
        self.write_shares();
        self.settle();
    }

    /// Writes the rows that changed: first those that are deleted, which may have made room in a
    /// unique index.
    fn write(&self) {
        if self.rows.borrow().unwritten.is_empty() {
            return;
        }
        self.entries.borrow_mut().clear();
        self.empty.set(None);
        let begin = self.rows.borrow_mut().write();
        let rows = self.rows.borrow();
        for deletes in [true, false] {
            for (_, before, after) in rows.written_from(begin) {
                if after.is_none() == deletes {
                    self.check(self.archive.write(before.as_deref(), after.as_deref()));
                }
            }
        }
    }

    /// Writes the shares that changed.
    fn write_shares(&self) {
        let begin = self.shares.borrow_mut().write();
        for ((agent, kind, of), _, amount) in self.shares.borrow().written_from(begin) {
            self.check(self.archive.set_used(*agent, *kind, of, *amount));
        }
    }

    /// What was written stays written.
    pub(super) fn settle(&self) {
        self.rows.borrow_mut().settle();
        self.shares.borrow_mut().settle();
    }

    /// What the current commit wrote is undone in the archive. The rows are as before it already.
    pub(super) fn unwrite(&self) {
        self.fault.take();
        self.shares.borrow_mut().unwrite();
        let keys = self.rows.borrow_mut().unwrite();
        if keys.is_empty() {
            return;
        }
        self.empty.set(None);
        let rows = self.rows.borrow();
        let mut entries = self.entries.borrow_mut();
        for key in keys {
            let now = rows.known.get(&key).into_iter().flatten();
            for entry in now.flat_map(|row| row.indexes()) {
                entries.insert(entry, key.clone());
            }
        }
    }

    pub(super) fn forget(&self) {
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

/// The rows in a range of an archive, read as they are asked for.
pub(super) struct Pages<'a, R: Row> {
    archived: &'a Archived<R>,
    /// What was not read yet.
    ends: Ends<R::Index>,
    page: VecDeque<Arc<R>>,
    /// How many rows the next page has; 0 after the last.
    size: usize,
}

impl<'a, R: Row> Pages<'a, R> {
    pub(super) const fn new(archived: &'a Archived<R>, ends: Ends<R::Index>) -> Self {
        Self {
            archived,
            ends,
            page: VecDeque::new(),
            size: 1,
        }
    }

    fn read(&mut self) {
        self.archived.write();
        if self.archived.is_empty() {
            self.size = 0;
            return;
        }
        let keys = self.archived.archive.first(&self.ends, self.size);
        let keys = self.archived.check(keys).unwrap_or_default();
        let is_full = keys.len() == self.size;
        self.page = keys
            .iter()
            .filter_map(|key| self.archived.get(key))
            .collect();
        // Often only the first is of interest.
        self.size = if is_full {
            (self.size * 4).min(PAGE)
        } else {
            0
        };
        if let Some(last) = self.page.back() {
            let entries = last.indexes();
            let read_to = entries
                .into_iter()
                .find(|entry| contains(&self.ends, entry));
            match read_to {
                Some(entry) => self.ends.0 = Bound::Excluded(entry),
                None => self.size = 0,
            }
        }
    }
}

/// The largest page, in rows.
const PAGE: usize = 256;

impl<R: Row> Iterator for Pages<'_, R> {
    type Item = Arc<R>;

    fn next(&mut self) -> Option<Arc<R>> {
        if self.page.is_empty() && self.size > 0 {
            self.read();
        }
        self.page.pop_front()
    }
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
