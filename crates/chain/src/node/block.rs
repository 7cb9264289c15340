//! Blocks, out of whatever form a node shows them in.

use agentry_protocol::{BlockHash, BlockHeight};

use crate::node::{Block, BlockTransaction, Head};
use crate::raw::{self, Object, RawError};
use crate::row::Row;

/// A block whose transactions have been cut out but not parsed.
#[derive(Debug, Clone)]
pub(crate) struct RawBlock {
    pub(crate) head: Head,
    pub(crate) parent_hash: Option<BlockHash>,
    pub(crate) proposer: String,
    pub(crate) timestamp: String,
    /// None: the node sent no such field.
    pub(crate) rows: Option<Vec<Row>>,
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
    pub(crate) fn cut(text: &[u8]) -> Result<Self, BlockError> {
        let object = Object::parse(text)?;
        let head = head(&object)?;
        let rows = match object.get("transactions") {
            None | Some(b"null") => None,
            Some(list) => Some(raw::items(list)?.into_iter().map(Row::cut).collect()),
        };
        let text = |key| {
            object
                .string(key)
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default()
        };
        Ok(Self {
            parent_hash: text("parent_hash").parse().ok(),
            proposer: text("proposer"),
            timestamp: text("timestamp"),
            head,
            rows,
        })
    }

    /// Reads its transactions, each on its own.
    pub(crate) fn decode(self) -> Block {
        let decode = |row: Row| match row.decode() {
            Ok((hash, stored)) => BlockTransaction {
                hash: Some(hash),
                stored: Ok(stored),
            },
            Err(reason) => BlockTransaction {
                hash: row.hash,
                stored: Err(reason),
            },
        };
        Block {
            height: self.head.height,
            hash: self.head.hash,
            parent_hash: self.parent_hash,
            proposer: self.proposer,
            timestamp: self.timestamp,
            tx_count: self.head.tx_count,
            transactions: self.rows.map(|rows| rows.into_iter().map(decode).collect()),
        }
    }
}

/// The fields that every block has.
pub(super) fn head(object: &Object<'_>) -> Result<Head, BlockError> {
    // A higher one is no height that a node's database, or ours, can hold.
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

/// The hash that a block goes by: what the chain says, or, where that is spelled otherwise than a
/// hash (a genesis made by hand, say), the SHA-256 of its words.
pub(crate) fn block_identity(text: &str) -> BlockHash {
    text.parse()
        .unwrap_or_else(|_| BlockHash::of(text.as_bytes()))
}
