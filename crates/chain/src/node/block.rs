//! Blocks, read from any of the forms in which nodes show them.
//!
//! A block's answer can be of any length, and anyone can fill a block. So its rows are read one by
//! one, and only the wanted ones are kept.

use agentry_protocol::{BlockHash, BlockHeight, Dialect};
use sha2::{Digest as _, Sha256};

use crate::list::Item;
use crate::node::{Block, BlockTransaction, Head};
use crate::raw::{self, Object, RawError};
use crate::row::Row;
use crate::source::Interest;

/// How many bytes of the transactions of one block are kept. A block of a real chain holds 1 MB.
pub(crate) const MOST_KEPT_OF_A_BLOCK: usize = 16 << 20;

/// How many unreadable rows of a block are listed; the others are only counted. A block of a real
/// chain holds as many transactions.
pub(crate) const LISTED_UNREADABLE: usize = 500;

/// A block whose rows have been read.
#[derive(Debug, Clone)]
pub(crate) struct RawBlock {
    pub(crate) head: Head,
    pub(crate) parent_hash: Option<BlockHash>,
    pub(crate) proposer: String,
    pub(crate) timestamp: String,
    /// None: the node sent no such field, or it was not asked for.
    pub(crate) rows: Option<Rows>,
    /// No other call shows more of it.
    pub(crate) is_alone: bool,
}

/// The rows of a block.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// How many there are.
    pub(crate) shown: u64,
    /// A fingerprint of all of them, by their hashes and in order.
    pub(crate) print: u32,
    /// The wanted ones, in order, and the first unreadable ones.
    pub(crate) list: Vec<BlockTransaction>,
    /// How many more cannot be read.
    pub(crate) unlisted: u64,
    /// How many wanted, readable ones exceed the limit of one block and were not kept.
    pub(crate) left_out: u64,
    /// The total length of the texts from which `list` was made.
    pub(crate) bytes: usize,
}

/// Which rows are wanted.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// None: they are not read at all.
    Headers,
    /// Those between addresses that this interest wants.
    Rows(&'a dyn Interest),
}

/// Why a block's own fields cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("a block is malformed: {0}")]
    Malformed(#[from] RawError),
    #[error("a block has no readable {0}")]
    Lacks(&'static str),
}

impl RawBlock {
    /// Reads a block from its text.
    pub(crate) fn cut(
        dialect: Dialect,
        text: &[u8],
        wanted: Wanted<'_>,
    ) -> Result<Self, BlockError> {
        let object = Object::parse(text)?;
        let mut block = Self::fields(&object)?;
        let list = object.get("transactions").filter(|list| *list != b"null");
        if let (Some(list), Wanted::Rows(interest)) = (list, wanted) {
            let mut rows = RowsBuilder::new(dialect, interest);
            for item in raw::each(list) {
                rows.take(Item::Text(item?));
            }
            block.rows = Some(rows.finish());
        }
        Ok(block)
    }

    /// A block's own fields.
    pub(crate) fn fields(object: &Object<'_>) -> Result<Self, BlockError> {
        let text = |key| {
            object
                .string(key)
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default()
        };
        Ok(Self {
            head: head(object)?,
            parent_hash: text("parent_hash").parse().ok(),
            proposer: text("proposer"),
            timestamp: text("timestamp"),
            rows: None,
            is_alone: false,
        })
    }

    /// Whether it shows fewer transactions than it counts.
    pub(crate) fn is_short(&self) -> bool {
        let all = |rows: &Rows| rows.left_out == 0 && rows.shown >= self.head.tx_count;
        !self.rows.as_ref().map_or(self.head.tx_count == 0, all)
    }

    /// How many of its rows the node shows.
    pub(crate) fn shown(&self) -> u64 {
        self.rows.as_ref().map_or(0, |rows| rows.shown)
    }

    /// The block as a caller of the node sees it.
    pub(crate) fn into_block(self) -> Block {
        let (unlisted, left_out) = self
            .rows
            .as_ref()
            .map_or((0, 0), |rows| (rows.unlisted, rows.left_out));
        Block {
            height: self.head.height,
            hash: self.head.hash,
            parent_hash: self.parent_hash,
            proposer: self.proposer,
            timestamp: self.timestamp,
            tx_count: self.head.tx_count,
            transactions: self.rows.map(|rows| rows.list),
            unlisted: unlisted.saturating_add(left_out),
        }
    }
}

/// Reads rows one by one.
pub(crate) struct RowsBuilder<'a> {
    dialect: Dialect,
    interest: &'a dyn Interest,
    hasher: Sha256,
    unreadable: u64,
    rows: Rows,
}

impl<'a> RowsBuilder<'a> {
    pub(crate) fn new(dialect: Dialect, interest: &'a dyn Interest) -> Self {
        Self {
            dialect,
            interest,
            hasher: Sha256::new(),
            unreadable: 0,
            rows: Rows {
                shown: 0,
                print: 0,
                list: Vec::new(),
                unlisted: 0,
                left_out: 0,
                bytes: 0,
            },
        }
    }

    /// The next row.
    pub(crate) fn take(&mut self, item: Item<'_>) {
        self.rows.shown += 1;
        let text = match item {
            Item::Text(text) => text,
            Item::TooLong => {
                self.hasher.update([0; 32]);
                return self.unreadable(None, || "it is longer than a transaction may be".into());
            }
        };
        let row = Row::cut(self.dialect, text);
        let is_wanted = row
            .pair
            .as_ref()
            .map(|(from, to)| self.interest.wants(from, to));
        // A row that does not name its addresses is parsed to learn them.
        let decoded = (is_wanted != Some(false) || row.hash.is_none()).then(|| row.decode());
        let by_content = decoded.as_ref().and_then(|row| Some(row.as_ref().ok()?.0));
        let hash = row.hash.or(by_content);
        // Its identity, which does not depend on the form in which it is shown.
        self.hasher
            .update(hash.map_or([0; 32], |hash| *hash.as_bytes()));
        match decoded {
            _ if is_wanted == Some(false) => {}
            None => {}
            Some(Err(reason)) => self.unreadable(row.hash, || reason),
            Some(Ok((hash, stored))) => {
                let (from, to) = (stored.from.as_str(), stored.to.as_str());
                if is_wanted.is_none() && !self.interest.wants(from, to) {
                    return;
                }
                if self.rows.bytes.saturating_add(text.len()) > MOST_KEPT_OF_A_BLOCK {
                    self.rows.left_out += 1;
                    return;
                }
                self.rows.bytes += text.len();
                self.rows.list.push(BlockTransaction {
                    hash: Some(hash),
                    stored: Ok(stored),
                });
            }
        }
    }

    fn unreadable(
        &mut self,
        hash: Option<agentry_protocol::TransactionHash>,
        reason: impl FnOnce() -> String,
    ) {
        self.unreadable += 1;
        if self.unreadable > LISTED_UNREADABLE as u64 {
            self.rows.unlisted += 1;
            return;
        }
        self.rows.list.push(BlockTransaction {
            hash,
            stored: Err(reason()),
        });
    }

    /// All rows have been read.
    pub(crate) fn finish(mut self) -> Rows {
        let mut first = [0; 4];
        first.copy_from_slice(&self.hasher.finalize()[..4]);
        self.rows.print = u32::from_be_bytes(first);
        self.rows
    }
}

/// The fields that every block has.
pub(super) fn head(object: &Object<'_>) -> Result<Head, BlockError> {
    // Neither the node's database nor this program's can hold a greater height.
    let height = object
        .unsigned("height")
        .filter(|height| i64::try_from(*height).is_ok())
        .ok_or(BlockError::Lacks("height"))?;
    let hash = object.string("hash").ok_or(BlockError::Lacks("hash"))?;
    Ok(Head {
        height: BlockHeight(height),
        hash: block_identity(&hash),
        tx_count: object.unsigned("tx_count").unwrap_or_default(),
    })
}

/// The hash that identifies a block: the chain's, or, where that is not spelled like a hash (a
/// genesis made by hand, for example), the SHA-256 of its text.
pub(crate) fn block_identity(text: &str) -> BlockHash {
    text.parse()
        .unwrap_or_else(|_| BlockHash::of(text.as_bytes()))
}
