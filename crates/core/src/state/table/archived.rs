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

use super::{Changes, Row};
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

    /// Whether there is no row.
    ///
    /// # Errors
    /// The archive cannot be read.
    fn is_empty(&self) -> Result<bool, ArchiveError>;

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

/// The rows of an archive that were read or changed.
pub(super) struct Archived<R: Row> {
    archive: Box<dyn Archive<R>>,
    known: RefCell<BTreeMap<R::Key, Option<Arc<R>>>>,
    /// The rows that changed, as the archive has them.
    unwritten: RefCell<BTreeMap<R::Key, Option<Arc<R>>>>,
    /// The entries of the rows that changed.
    entries: RefCell<BTreeMap<R::Index, R::Key>>,
    /// The rows that the current commit wrote, as the archive had them before it.
    written: RefCell<Changes<R>>,
    shares: ArchivedShares,
    /// About how many bytes were read and changed since the table forgot its rows last.
    bytes: Cell<usize>,
    /// Whether the archive has no row, if that is known.
    empty: Cell<Option<bool>>,
    /// The first error of the archive in the current commit.
    fault: RefCell<Option<ArchiveError>>,
}

type ShareKey = (AgentId, Kind, Share);

/// What the rows of an archive use, of the shares that were asked for.
#[derive(Default)]
struct ArchivedShares {
    known: RefCell<BTreeMap<ShareKey, Amount>>,
    /// The shares that changed, as the archive has them.
    unwritten: RefCell<BTreeMap<ShareKey, Amount>>,
    /// The shares that the current commit wrote, as the archive had them before it.
    written: RefCell<Vec<(ShareKey, Amount)>>,
}

impl<R: Row> Archived<R> {
    pub(super) fn new(archive: Box<dyn Archive<R>>) -> Self {
        Self {
            archive,
            known: RefCell::default(),
            unwritten: RefCell::default(),
            entries: RefCell::default(),
            written: RefCell::default(),
            shares: ArchivedShares::default(),
            bytes: Cell::default(),
            empty: Cell::default(),
            fault: RefCell::default(),
        }
    }

    /// The first error since the last call.
    pub(super) fn fault(&self) -> Result<(), ArchiveError> {
        self.fault.take().map_or(Ok(()), Err)
    }

    pub(super) fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause> {
        self.write_shares();
        self.check(self.archive.most(agent, kind, standing))?
    }

    /// Writes everything that changed, for good.
    pub(super) fn write_all(&self) {
        self.write();
        self.write_shares();
        self.settle();
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
        if !self.unwritten.borrow().is_empty() {
            return false;
        }
        let known = self.empty.get();
        let empty = known.or_else(|| self.check(self.archive.is_empty()));
        self.empty.set(empty);
        empty.unwrap_or(false)
    }

    pub(super) fn get(&self, key: &R::Key) -> Option<Arc<R>> {
        if let Some(known) = self.known.borrow().get(key) {
            return known.clone();
        }
        if self.is_empty() {
            return None;
        }
        let row = self.check(self.archive.get(key))?.map(Arc::new);
        self.learn(key, row.clone());
        row
    }

    fn learn(&self, key: &R::Key, row: Option<Arc<R>>) {
        let bytes = row.as_ref().map_or(0, |row| row.bytes());
        let bytes = bytes.saturating_add(size_of::<R>());
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.known.borrow_mut().insert(key.clone(), row);
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
        if self.unwritten.borrow().contains_key(&key) {
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
            self.count(&used, |share| {
                share.items = share.items.saturating_sub(1);
                share.bytes = share.bytes.saturating_sub(used.bytes);
            });
        }
        for used in row.iter().flat_map(|row| row.uses()) {
            self.count(&used, |share| {
                share.items = share.items.saturating_add(1);
                share.bytes = share.bytes.saturating_add(used.bytes);
            });
        }
        let mut entries = self.entries.borrow_mut();
        let mut unwritten = self.unwritten.borrow_mut();
        match unwritten.get(key) {
            None => {
                unwritten.insert(key.clone(), before.clone());
            }
            Some(_) => {
                for entry in before.iter().flat_map(|row| row.indexes()) {
                    entries.remove(&entry);
                }
            }
        }
        for entry in row.iter().flat_map(|row| row.indexes()) {
            entries.insert(entry, key.clone());
        }
        self.learn(key, row);
        before
    }

    pub(super) fn used(&self, share: &ShareKey) -> Amount {
        if let Some(known) = self.shares.known.borrow().get(share) {
            return *known;
        }
        let (agent, kind, of) = share;
        let Some(amount) = self.check(self.archive.used(*agent, *kind, of)) else {
            return Amount::default();
        };
        let mut known = self.shares.known.borrow_mut();
        known.insert(share.clone(), amount);
        amount
    }

    /// Changes the shares that something belongs to.
    fn count(&self, used: &Used, change: impl Fn(&mut Amount)) {
        for share in shares(&used.cause) {
            let key = (used.agent, used.kind, share);
            let before = self.used(&key);
            let mut unwritten = self.shares.unwritten.borrow_mut();
            unwritten.entry(key.clone()).or_insert(before);
            let mut known = self.shares.known.borrow_mut();
            change(known.entry(key).or_default());
        }
    }

    /// Writes the rows that changed: first those that are deleted, which may have made room in a
    /// unique index.
    fn write(&self) {
        let unwritten = self.unwritten.take();
        if unwritten.is_empty() {
            return;
        }
        self.entries.borrow_mut().clear();
        self.empty.set(None);
        let known = self.known.borrow();
        let now = |key| known.get(key).and_then(Option::as_deref);
        for deletes in [true, false] {
            for (key, before) in &unwritten {
                let (before, after) = (before.as_deref(), now(key));
                if after.is_none() == deletes && before != after {
                    self.check(self.archive.write(before, after));
                }
            }
        }
        self.written.borrow_mut().extend(unwritten);
    }

    /// Writes the shares that changed.
    fn write_shares(&self) {
        let unwritten = self.shares.unwritten.take();
        let known = self.shares.known.borrow();
        for (share, before) in &unwritten {
            let amount = known.get(share).copied().unwrap_or_default();
            if amount != *before {
                let (agent, kind, of) = share;
                self.check(self.archive.set_used(*agent, *kind, of, amount));
            }
        }
        self.shares.written.borrow_mut().extend(unwritten);
    }

    /// What was written stays written.
    pub(super) fn settle(&self) {
        self.written.borrow_mut().clear();
        self.shares.written.borrow_mut().clear();
    }

    /// What the current commit wrote is undone in the archive. The rows are as before it already.
    pub(super) fn unwrite(&self) {
        self.fault.take();
        let written = self.written.take();
        if !written.is_empty() {
            self.empty.set(None);
        }
        let known = self.known.borrow();
        let mut unwritten = self.unwritten.borrow_mut();
        // The archive has what it had before the first time.
        for (key, before) in written.into_iter().rev() {
            let now = known.get(&key).into_iter().flatten();
            for entry in now.flat_map(|row| row.indexes()) {
                self.entries.borrow_mut().insert(entry, key.clone());
            }
            unwritten.insert(key, before);
        }
        let mut unwritten = self.shares.unwritten.borrow_mut();
        for (share, before) in self.shares.written.take().into_iter().rev() {
            unwritten.insert(share, before);
        }
    }

    pub(super) fn forget(&self) {
        self.known.borrow_mut().clear();
        self.unwritten.borrow_mut().clear();
        self.entries.borrow_mut().clear();
        self.written.borrow_mut().clear();
        self.shares.known.borrow_mut().clear();
        self.shares.unwritten.borrow_mut().clear();
        self.shares.written.borrow_mut().clear();
        self.bytes.set(0);
        self.empty.set(None);
    }

    /// Forgets the rows if they take much memory. All changes must be written.
    pub(super) fn trim(&self) {
        if self.bytes.get() > MOST_BYTES || self.shares.known.borrow().len() > MOST_SHARES {
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
