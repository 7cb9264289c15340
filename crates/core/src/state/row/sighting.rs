//! The transactions of hosted wallets on the chain that the outbox does not know.

use std::sync::Arc;

use agentry_protocol::{
    Address, Amount, BlockHash, BlockHeight, ContentHash, MessageDigest, MessageId, Nonce,
    Timestamp, TransactionHash,
};

use crate::rows::{AgentId, OutboxId};
use crate::state::table::Row;

/// A hosted wallet's transaction that matches no row of the outbox: one that this store lost or
/// never knew, or one of another program that signs with the same wallet. A draft that would send
/// the same message claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its id, in the order in which it was seen.
    pub id: i64,
    /// The wallet.
    pub agent: AgentId,
    /// SHA-256 of the signing text.
    pub digest: MessageDigest,
    /// Its hash.
    pub hash: TransactionHash,
    /// Its nonce, if this runtime could have assigned it.
    pub nonce: Option<Nonce>,
    /// Its recipient.
    pub recipient: Address,
    /// The amount that it transfers, if that is a whole number.
    pub amount: Option<Amount>,
    /// The fee that it pays, if that is a whole number.
    pub fee: Option<Amount>,
    /// The kind of its fingerprint.
    pub kind: String,
    /// The content of its fingerprint.
    pub content: ContentHash,
    /// The id in its header.
    pub message_id: Option<MessageId>,
    /// The transaction that it answers.
    pub re: Option<TransactionHash>,
    /// Its bytes, as posted.
    pub body: Arc<str>,
    /// The block that holds it; `None` while it is in no block.
    pub block: Option<BlockHeight>,
    /// The hash of the block that held it last.
    pub block_hash: Option<BlockHash>,
    /// The last row of the outbox at the start, if it was seen before agents acted. Otherwise only
    /// the same bytes claim it.
    pub mark: Option<OutboxId>,
    /// When it was seen.
    pub seen_at: Timestamp,
}

impl Sighting {
    /// Its place among those that a draft may claim: those in a block first, the lowest block
    /// first.
    pub(crate) fn place(&self) -> (bool, Option<BlockHeight>, i64) {
        (self.block.is_none(), self.block, self.id)
    }
}

/// How a sighting is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By its digest.
    Digest(AgentId, MessageDigest),
    /// By its hash.
    Hash(AgentId, TransactionHash, i64),
    /// By its block.
    Height(BlockHeight, i64),
    /// In a block, by its nonce.
    Nonce(AgentId, Nonce, i64),
    /// By the time at which it was seen.
    Seen(Timestamp, i64),
    /// By the id in its header.
    Message(AgentId, MessageId, i64),
    /// By its recipient, if a draft may claim it by its content.
    Recipient(AgentId, Address, i64),
    /// By what it answers, if a draft may claim it by its content.
    Re(AgentId, TransactionHash, i64),
}

impl Row for Sighting {
    type Key = i64;
    type Index = Index;

    fn key(&self) -> i64 {
        self.id
    }

    fn indexes(&self) -> Vec<Index> {
        let (agent, id) = (self.agent, self.id);
        let mut entries = vec![
            Index::Digest(agent, self.digest),
            Index::Hash(agent, self.hash, id),
            Index::Seen(self.seen_at, id),
        ];
        if let Some(height) = self.block {
            entries.push(Index::Height(height, id));
            entries.extend(self.nonce.map(|nonce| Index::Nonce(agent, nonce, id)));
        }
        if let Some(message) = self.message_id {
            entries.push(Index::Message(agent, message, id));
        }
        if self.mark.is_some() {
            entries.push(Index::Recipient(agent, self.recipient.clone(), id));
            if let Some(re) = self.re {
                entries.push(Index::Re(agent, re, id));
            }
        }
        entries
    }

    fn bytes(&self) -> usize {
        self.body.len()
    }
}
