//! The transactions of one block: out of the table, and out of the block's metadata, where a follower
//! keeps them (hazard 4 of PROTOCOL.md).

use std::collections::HashSet;

use agentry_protocol::TransactionHash;

use super::filter::{Abandoned, Filter};
use super::query::{BlockRow, Query, Summary, TransactionRow};
use super::work::Work;
use crate::node::Head;
use crate::raw::{self, Object};
use crate::row::{self, Row};
use crate::source::{ChainEvent, ChainTransaction, Mark};

/// As long as `{"transactions": []}`: metadata no longer than this holds no transaction.
const EMPTY_METADATA: i64 = 20;

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

/// What came out of one block.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) summary: Summary,
    /// The transaction row with the highest id.
    pub(super) last: Mark,
    /// How many rows were looked at.
    pub(super) rows: usize,
}

/// Reads transactions and makes events of them.
pub(super) struct Contents<'a> {
    pub(super) query: Query<'a>,
    pub(super) filter: Filter,
    pub(super) events: Vec<ChainEvent>,
    /// How long the texts were that they were made of.
    pub(super) bytes: usize,
    pub(super) work: &'a Work,
}

impl Contents<'_> {
    /// Everything wanted of a block.
    pub(super) fn block(&mut self, block: &BlockRow, late: bool) -> Result<Content, Stop> {
        let rows = self.query.transactions(block.height())?;
        let mut content = Content {
            rows: rows.len(),
            ..Content::default()
        };
        for row in &rows {
            content.summary.add(row.id);
            content.last = row.mark;
        }
        self.work.count_rows(rows.len());
        let mut hashes = HashSet::new();
        self.rows(&rows, &block.head, late, &mut hashes)?;
        // A table that holds all that the block counts leaves nothing to look for in the metadata.
        let complete = !rows.is_empty() && rows.len() as u64 >= block.head.tx_count;
        if !complete && block.metadata_bytes > EMPTY_METADATA {
            hashes.extend(rows.iter().filter_map(|row| row.hash));
            content.rows += self.metadata(block, late, &hashes)?;
        }
        Ok(content)
    }

    /// One row of the table, which came late.
    pub(super) fn late_row(&mut self, row: TransactionRow, head: &Head) -> Result<(), Stop> {
        self.rows(&[row], head, true, &mut HashSet::new())
    }

    fn rows(
        &mut self,
        rows: &[TransactionRow],
        head: &Head,
        late: bool,
        hashes: &mut HashSet<TransactionHash>,
    ) -> Result<(), Stop> {
        // A row without its columns is parsed whatever happens: the truth is in the payload.
        let named = |row: &TransactionRow| !row.sender.is_empty() && !row.recipient.is_empty();
        let pairs = rows.iter().filter(|row| named(row));
        let pairs = pairs.map(|row| (row.sender.as_str(), row.recipient.as_str()));
        let mut wanted = self.filter.wants(pairs)?.into_iter();
        for row in rows {
            let named = named(row);
            if named && !wanted.next().unwrap_or(false) {
                continue;
            }
            self.work.count_payload();
            let found = match self.query.payload(row.id)? {
                Some(text) => {
                    self.bytes = self.bytes.saturating_add(text.len());
                    row::decode(row.hash, &text)
                }
                None => Err("its payload is no text, or longer than 4 MiB".to_owned()),
            };
            hashes.extend(found.as_ref().ok().map(|(hash, _)| *hash));
            self.found(row.hash, named, found, head, late)?;
        }
        Ok(())
    }

    /// The transactions in a block's metadata that the table does not have.
    fn metadata(
        &mut self,
        block: &BlockRow,
        late: bool,
        known: &HashSet<TransactionHash>,
    ) -> Result<usize, Stop> {
        let list = match self.query.metadata(block.id)? {
            Some(text) => cut_metadata(&text),
            None => Err("the block's metadata is no text, or longer than 64 MiB".to_owned()),
        };
        let rows = match list {
            Ok(rows) => rows,
            Err(reason) => {
                let height = block.head.height;
                self.events.push(ChainEvent::Undecodable {
                    height,
                    hash: None,
                    reason,
                });
                return Ok(0);
            }
        };
        self.work.count_rows(rows.len());
        let pairs = rows.iter().filter_map(|row| row.pair.as_ref());
        let pairs = pairs.map(|(from, to)| (from.as_str(), to.as_str()));
        let mut wanted = self.filter.wants(pairs)?.into_iter();
        for row in &rows {
            let unwanted = row.pair.is_some() && !wanted.next().unwrap_or(false);
            if unwanted || row.hash.is_some_and(|hash| known.contains(&hash)) {
                continue;
            }
            self.work.count_payload();
            self.bytes = self.bytes.saturating_add(row.text.len());
            let found = row.decode();
            if found.as_ref().is_ok_and(|(hash, _)| known.contains(hash)) {
                continue;
            }
            self.found(row.hash, row.pair.is_some(), found, &block.head, late)?;
        }
        Ok(rows.len())
    }

    /// Makes an event of what was read, if it is wanted. `asked`: it is known to be.
    fn found(
        &mut self,
        named: Option<TransactionHash>,
        asked: bool,
        found: Result<(TransactionHash, agentry_protocol::StoredTransaction), String>,
        head: &Head,
        late: bool,
    ) -> Result<(), Stop> {
        let (height, block_hash) = (head.height, head.hash);
        match found {
            Ok((hash, stored)) => {
                let wanted = asked
                    || self
                        .filter
                        .wants_one(stored.from.as_str(), stored.to.as_str())?;
                if wanted {
                    let found = ChainTransaction {
                        hash,
                        stored,
                        height,
                        block_hash,
                        late,
                    };
                    self.events.push(ChainEvent::Transaction(found));
                }
            }
            Err(reason) => {
                self.events.push(ChainEvent::Undecodable {
                    height,
                    hash: named,
                    reason,
                });
            }
        }
        Ok(())
    }
}

/// The rows in a block's metadata; none if it has no such list.
fn cut_metadata(text: &[u8]) -> Result<Vec<Row>, String> {
    let inner;
    let text = match raw::string(text) {
        // A JSON column may hold JSON in a string.
        Some(string) => {
            inner = string.into_owned();
            inner.as_bytes()
        }
        None => text,
    };
    if text.trim_ascii() == b"null" {
        return Ok(Vec::new());
    }
    let damaged = |error| format!("the block's metadata is malformed: {error}");
    let object = Object::parse(text).map_err(damaged)?;
    match object.get("transactions") {
        None | Some(b"null") => Ok(Vec::new()),
        Some(list) => Ok(raw::items(list)
            .map_err(damaged)?
            .into_iter()
            .map(Row::cut)
            .collect()),
    }
}
