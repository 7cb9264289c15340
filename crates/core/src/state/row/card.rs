//! The directory, and the heights that could not be read.

use agentry_protocol::{Address, BlockHeight, PublicKey, Timestamp, TransactionHash};

use crate::state::table::Row;

/// An announcement of a card on the chain, or a withdrawal. The latest one of each address counts:
/// the one with the highest height and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its id, in the chain's order within a block.
    pub id: i64,
    /// The agent's address.
    pub address: Address,
    /// The transaction that carried it.
    pub hash: TransactionHash,
    /// Its block.
    pub height: BlockHeight,
    /// The key that signed it.
    pub public_key: PublicKey,
    /// The announcement, JSON; `None` if the card was withdrawn.
    pub card: Option<String>,
    /// When it expires; the epoch for a withdrawal.
    pub expires_at: Timestamp,
    /// The time in its id, or when it was seen.
    pub announced_at: Timestamp,
}

/// How a card is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By its transaction.
    Hash(Address, TransactionHash),
    /// By its address, the latest one last.
    Latest(Address, BlockHeight, i64),
    /// By its block.
    Height(BlockHeight, i64),
    /// By the time at which it expires.
    Expires(Timestamp, i64),
}

impl Row for Card {
    type Key = i64;
    type Index = Index;

    fn key(&self) -> i64 {
        self.id
    }

    fn indexes(&self) -> Vec<Index> {
        vec![
            Index::Hash(self.address.clone(), self.hash),
            Index::Latest(self.address.clone(), self.height, self.id),
            Index::Height(self.height, self.id),
            Index::Expires(self.expires_at, self.id),
        ]
    }

    fn bytes(&self) -> usize {
        self.card.as_ref().map_or(0, String::len)
    }
}

/// A height that the source could not read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The height.
    pub height: BlockHeight,
    /// The reason.
    pub reason: String,
    /// When it was found.
    pub since: Timestamp,
}

impl Row for Gap {
    type Key = BlockHeight;
    type Index = BlockHeight;

    fn key(&self) -> BlockHeight {
        self.height
    }

    fn indexes(&self) -> Vec<BlockHeight> {
        vec![self.height]
    }
}
