//! The transactions of one block, read from the table and from the block's metadata. A follower
//! that is fed through importBlock keeps them only there (hazard 4 in `docs/hazards.md`).
//!
//! Rows are read a few at a time, so a block takes no more memory than the transactions wanted of
//! it.

use std::collections::HashSet;

use agentry_protocol::{StoredTransaction, TransactionHash};

use super::filter::{Abandoned, Filter};
use super::query::{BlockRow, Query, Summary, TransactionRow};
use super::work::Work;
use crate::node::{Head, LISTED_UNREADABLE, MOST_KEPT_OF_A_BLOCK};
use crate::raw::{self, Object};
use crate::row::{self, Row};
use crate::source::{ChainEvent, ChainTransaction, Mark, Undecodable};

/// The length of `{"transactions": []}`: metadata no longer than this holds no transaction.
const EMPTY_METADATA: i64 = 20;

/// How many rows are fetched together.
const CHUNK: usize = 500;

/// How many hashes of a block are kept, so that a transaction that is both in the table and in the
/// metadata is delivered once: two hundred times what a block holds. Beyond it, some are delivered
/// twice.
const HASHES: usize = 100_000;

/// Why a read ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Database(rusqlite::Error),
    Abandoned,
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Abandoned> for Stop {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

/// The result of reading one block.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) summary: Summary,
    /// The transaction row with the highest id.
    pub(super) last: Mark,
    /// How many rows were read.
    pub(super) rows: usize,
}

/// Reads transactions and turns them into events.
pub(super) struct Contents<'a> {
    pub(super) query: Query<'a>,
    pub(super) filter: Filter,
    pub(super) events: Vec<ChainEvent>,
    /// The total length of the texts that the events were made from.
    pub(super) bytes: usize,
    pub(super) work: &'a Work,
}

/// A block that is being read.
struct Reading<'a> {
    head: &'a Head,
    late: bool,
    /// The hashes found so far. None: duplicates need not be detected.
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
    pub(super) fn block(&mut self, block: &BlockRow, late: bool) -> Result<Content, Stop> {
        let summary = self.query.summary(block.height())?;
        let mut content = Content {
            summary,
            ..Content::default()
        };
        let mut reading = Reading::new(&block.head, late);
        // If the table holds as many as the block counts, the metadata need not be searched.
        let is_complete = summary.count() > 0 && summary.count() >= block.head.tx_count;
        let has_more = !is_complete && block.metadata_bytes > EMPTY_METADATA;
        reading.hashes = has_more.then(HashSet::new);
        let mut after = i64::MIN;
        loop {
            let rows = self.query.transactions(block.height(), after, CHUNK)?;
            let Some(last) = rows.last() else { break };
            (after, content.last) = (last.id, last.mark);
            content.rows += rows.len();
            self.work.count_rows(rows.len());
            self.rows(&rows, &mut reading)?;
        }
        if has_more {
            content.rows += self.metadata(block, &mut reading)?;
        }
        self.finish(reading);
        Ok(content)
    }

    /// Reads one row of the table that was added late.
    pub(super) fn late_row(&mut self, row: TransactionRow, head: &Head) -> Result<(), Stop> {
        let mut reading = Reading::new(head, true);
        self.rows(&[row], &mut reading)?;
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

    fn rows(&mut self, rows: &[TransactionRow], reading: &mut Reading<'_>) -> Result<(), Stop> {
        // A row without its columns is always parsed: only the payload names its addresses.
        let named = |row: &TransactionRow| !row.sender.is_empty() && !row.recipient.is_empty();
        let pairs = rows.iter().filter(|row| named(row));
        let pairs = pairs.map(|row| (row.sender.as_str(), row.recipient.as_str()));
        let mut wanted = self.filter.wants(pairs)?.into_iter();
        for row in rows {
            reading.found(row.hash);
            let named = named(row);
            if named && !wanted.next().unwrap_or(false) {
                continue;
            }
            self.work.count_payload();
            let (found, bytes) = match self.query.payload(row.id)? {
                Some(text) => (row::decode(row.hash, &text), text.len()),
                None => {
                    let reason = "its payload is not text, or longer than 4 MiB";
                    (Err(reason.to_owned()), 0)
                }
            };
            reading.found(found.as_ref().ok().map(|(hash, _)| *hash));
            self.found(row.hash, named, found, bytes, reading)?;
        }
        Ok(())
    }

    /// Reads the transactions in a block's metadata that the table does not have.
    fn metadata(&mut self, block: &BlockRow, reading: &mut Reading<'_>) -> Result<usize, Stop> {
        let Some(text) = self.query.metadata(block.id)? else {
            let reason = "the block's metadata is not text, or longer than 16 MiB";
            reading.undecodable(None, reason.to_owned());
            return Ok(0);
        };
        let inner = raw::string(&text).map(|text| text.into_owned().into_bytes());
        // A JSON column may hold JSON in a string.
        let text = inner.as_deref().unwrap_or(&text);
        let mut count = 0;
        let mut chunk: Vec<Row<'_>> = Vec::with_capacity(CHUNK);
        let damaged = |error| format!("the block's metadata is malformed: {error}");
        let mut problem = None;
        match list_in(text) {
            Ok(None) => {}
            Ok(Some(list)) => {
                for item in raw::each(list) {
                    match item {
                        Ok(item) => chunk.push(Row::cut(item)),
                        Err(error) => problem = Some(damaged(error)),
                    }
                    if chunk.len() == CHUNK {
                        count += chunk.len();
                        self.metadata_rows(&chunk, reading)?;
                        chunk.clear();
                    }
                }
            }
            Err(error) => problem = Some(damaged(error)),
        }
        count += chunk.len();
        self.metadata_rows(&chunk, reading)?;
        if let Some(reason) = problem {
            reading.undecodable(None, reason);
        }
        Ok(count)
    }

    fn metadata_rows(&mut self, rows: &[Row<'_>], reading: &mut Reading<'_>) -> Result<(), Stop> {
        self.work.count_rows(rows.len());
        let pairs = rows.iter().filter_map(|row| row.pair.as_ref());
        let pairs = pairs.map(|(from, to)| (from.as_ref(), to.as_ref()));
        let mut wanted = self.filter.wants(pairs)?.into_iter();
        for row in rows {
            let unwanted = row.pair.is_some() && !wanted.next().unwrap_or(false);
            if unwanted || reading.knows(row.hash) {
                continue;
            }
            self.work.count_payload();
            let found = row.decode();
            if reading.knows(found.as_ref().ok().map(|(hash, _)| *hash)) {
                continue;
            }
            self.found(row.hash, row.pair.is_some(), found, row.text.len(), reading)?;
        }
        Ok(())
    }

    /// Turns a transaction into an event if it is wanted. `asked`: it is known to be wanted.
    fn found(
        &mut self,
        named: Option<TransactionHash>,
        asked: bool,
        found: Result<(TransactionHash, StoredTransaction), String>,
        bytes: usize,
        reading: &mut Reading<'_>,
    ) -> Result<(), Stop> {
        self.bytes = self.bytes.saturating_add(bytes);
        let (hash, stored) = match found {
            Ok(found) => found,
            Err(reason) => {
                reading.undecodable(named, reason);
                return Ok(());
            }
        };
        let (from, to) = (stored.from.as_str(), stored.to.as_str());
        if !asked && !self.filter.wants_one(from, to)? {
            return Ok(());
        }
        if reading.bytes.saturating_add(bytes) > MOST_KEPT_OF_A_BLOCK {
            let reason = "its block holds more than 16 MiB of transactions";
            reading.undecodable(Some(hash), reason.to_owned());
            return Ok(());
        }
        reading.bytes += bytes;
        self.events.push(ChainEvent::Transaction(ChainTransaction {
            hash,
            stored,
            height: reading.head.height,
            block_hash: reading.head.hash,
            late: reading.late,
        }));
        Ok(())
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
