//! The transactions of one block, read from the table and from the block's metadata. A follower
//! that is fed through importBlock keeps them only there (hazard 4 in `docs/hazards.md`).
//!
//! Rows are read one by one, so a block takes no more memory than the transactions wanted of it.

use std::borrow::Cow;
use std::collections::HashSet;

use agentry_protocol::{StoredTransaction, TransactionHash};

use super::query::{BlockRow, PairRow, Query, Summary};
use super::work::Work;
use crate::dialect;
use crate::node::{Head, LISTED_UNREADABLE, MOST_KEPT_OF_A_BLOCK};
use crate::raw::{self, Object};
use crate::row::Row;
use crate::source::{ChainEvent, ChainTransaction, Interest, Undecodable};

/// The length of `{"transactions": []}`: metadata no longer than this holds no transaction.
const EMPTY_METADATA: i64 = 20;

/// How many hashes of a block are kept, so that a transaction that is both in the table and in the
/// metadata is delivered once: two hundred times what a block holds. Beyond it, some are delivered
/// twice.
const HASHES: usize = 100_000;

/// The result of reading one block.
#[derive(Debug)]
pub(super) struct Content {
    /// The summary of the table's rows.
    pub(super) summary: Summary,
    /// How many rows were read, those in the metadata included.
    pub(super) rows: usize,
}

/// Reads transactions and turns them into events.
pub(super) struct Contents<'a> {
    pub(super) query: Query<'a>,
    pub(super) interest: &'a dyn Interest,
    pub(super) events: Vec<ChainEvent>,
    /// The total length of the texts that the events were made from.
    pub(super) bytes: usize,
    pub(super) work: &'a Work,
}

/// A block that is being read.
struct Reading<'a> {
    head: &'a Head,
    late: bool,
    /// The hashes of the wanted rows. None: duplicates need not be detected.
    hashes: Option<HashSet<TransactionHash>>,
    /// The total length of the texts that were kept.
    bytes: usize,
    undecodable: u64,
    first_undecodable: Vec<Undecodable>,
}

impl<'a> Reading<'a> {
    fn new(head: &'a Head, late: bool) -> Self {
        Self {
            head,
            late,
            hashes: None,
            bytes: 0,
            undecodable: 0,
            first_undecodable: Vec::new(),
        }
    }

    fn found(&mut self, hash: Option<TransactionHash>) {
        if let Some(hashes) = &mut self.hashes
            && hashes.len() < HASHES
        {
            hashes.extend(hash);
        }
    }

    fn knows(&self, hash: Option<TransactionHash>) -> bool {
        let hashes = self.hashes.as_ref();
        hashes.is_some_and(|hashes| hash.is_some_and(|hash| hashes.contains(&hash)))
    }

    fn undecodable(&mut self, hash: Option<TransactionHash>, reason: String) {
        self.undecodable += 1;
        if self.first_undecodable.len() < LISTED_UNREADABLE {
            self.first_undecodable.push(Undecodable { hash, reason });
        }
    }
}

impl Contents<'_> {
    /// Reads every wanted transaction of a block.
    pub(super) fn block(&mut self, block: &BlockRow, late: bool) -> rusqlite::Result<Content> {
        let mut reading = Reading::new(&block.head, late);
        let may_have = dialect::has_metadata_rows(self.query.dialect);
        let has_metadata = may_have && block.metadata_bytes > EMPTY_METADATA;
        reading.hashes = has_metadata.then(HashSet::new);
        let query = self.query;
        let summary = query.transactions(block.height(), |row| self.row(row, &mut reading))?;
        let mut rows = summary.count() as usize;
        // If the table holds as many as the block counts, the metadata need not be searched.
        let is_complete = rows > 0 && summary.count() >= block.head.tx_count;
        if has_metadata && !is_complete {
            rows += self.metadata(block, &mut reading)?;
        }
        self.work.count_rows(rows);
        self.finish(reading);
        Ok(Content { summary, rows })
    }

    /// Reads one row of the table that was added late.
    pub(super) fn late_row(&mut self, id: i64, head: &Head) -> rusqlite::Result<()> {
        let mut reading = Reading::new(head, true);
        let query = self.query;
        query.transaction(id, |row| {
            self.work.count_rows(1);
            self.row(row, &mut reading)
        })?;
        self.finish(reading);
        Ok(())
    }

    fn finish(&mut self, reading: Reading<'_>) {
        if reading.undecodable > 0 {
            self.events.push(ChainEvent::Undecodable {
                height: reading.head.height,
                count: reading.undecodable,
                first: reading.first_undecodable,
            });
        }
    }

    fn row(&mut self, row: &PairRow<'_>, reading: &mut Reading<'_>) -> rusqlite::Result<()> {
        // A row without its columns is always parsed: only the payload may name its addresses.
        let is_named = !row.sender.is_empty() && !row.recipient.is_empty();
        let dialect = self.query.dialect;
        let account = |text| dialect::account(dialect, Cow::Borrowed(text));
        let (from, to) = (account(&row.sender), account(&row.recipient));
        if is_named && !self.interest.wants(&from, &to) {
            return Ok(());
        }
        self.work.count_payload();
        let (hash, stored) = self.query.stored(row.id)?;
        let (found, bytes) = match stored {
            Some(form) => (dialect::decode(dialect, hash, &form), form.bytes()),
            None => {
                let reason = "its payload is not text, or longer than 4 MiB";
                (Err(reason.to_owned()), 0)
            }
        };
        reading.found(hash);
        reading.found(found.as_ref().ok().map(|(hash, _)| *hash));
        self.found(hash, is_named, found, bytes, reading);
        Ok(())
    }

    /// Reads the transactions in a block's metadata that the table does not have.
    fn metadata(&mut self, block: &BlockRow, reading: &mut Reading<'_>) -> rusqlite::Result<usize> {
        let Some(text) = self.query.metadata(block.id)? else {
            let reason = "the block's metadata is not text, or longer than 16 MiB";
            reading.undecodable(None, reason.to_owned());
            return Ok(0);
        };
        let inner = raw::string(&text).map(|text| text.into_owned().into_bytes());
        // A JSON column may hold JSON in a string.
        let text = inner.as_deref().unwrap_or(&text);
        let mut count = 0;
        let mut each = || -> Result<(), raw::RawError> {
            for item in list_in(text)?.into_iter().flat_map(raw::each) {
                self.metadata_row(&Row::cut(self.query.dialect, item?), reading);
                count += 1;
            }
            Ok(())
        };
        if let Err(error) = each() {
            let reason = format!("the block's metadata is malformed: {error}");
            reading.undecodable(None, reason);
        }
        Ok(count)
    }

    fn metadata_row(&mut self, row: &Row<'_>, reading: &mut Reading<'_>) {
        let is_wanted = |(from, to): &(Cow<'_, str>, Cow<'_, str>)| self.interest.wants(from, to);
        if !row.pair.as_ref().is_none_or(is_wanted) || reading.knows(row.hash) {
            return;
        }
        self.work.count_payload();
        let found = row.decode();
        if !reading.knows(found.as_ref().ok().map(|(hash, _)| *hash)) {
            self.found(row.hash, row.pair.is_some(), found, row.bytes(), reading);
        }
    }

    /// Turns a transaction into an event if it is wanted. `asked`: it is known to be wanted.
    fn found(
        &mut self,
        named: Option<TransactionHash>,
        asked: bool,
        found: Result<(TransactionHash, StoredTransaction), String>,
        bytes: usize,
        reading: &mut Reading<'_>,
    ) {
        self.bytes = self.bytes.saturating_add(bytes);
        let (hash, stored) = match found {
            Ok(found) => found,
            Err(reason) => {
                reading.undecodable(named, reason);
                return;
            }
        };
        let (from, to) = (stored.from.as_str(), stored.to.as_str());
        if !asked && !self.interest.wants(from, to) {
            return;
        }
        if reading.bytes.saturating_add(bytes) > MOST_KEPT_OF_A_BLOCK {
            let reason = "its block holds more than 16 MiB of transactions";
            reading.undecodable(Some(hash), reason.to_owned());
            return;
        }
        reading.bytes += bytes;
        self.events.push(ChainEvent::Transaction(ChainTransaction {
            hash,
            stored,
            height: reading.head.height,
            block_hash: reading.head.hash,
            late: reading.late,
        }));
    }
}

/// The list of rows in a block's metadata, if it has one.
fn list_in(text: &[u8]) -> Result<Option<&[u8]>, raw::RawError> {
    if text.trim_ascii() == b"null" {
        return Ok(None);
    }
    let object = Object::parse(text)?;
    Ok(object.get("transactions").filter(|list| *list != b"null"))
}
