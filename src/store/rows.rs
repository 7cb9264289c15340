//! The rows as the rest of the runtime sees them.

use std::fmt;

use agentry_protocol::{
    Address, BlockHeight, Json, MessageDigest, StoredTransaction, TransactionHash,
};
use agentry_sdk::Authenticity;
use serde::{Deserialize, Serialize};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// A hosted wallet, in this store.
    AgentId
);
row_id!(
    /// A message to a hosted wallet, in this store.
    InboxId
);
row_id!(
    /// A transaction that a hosted wallet sends, in this store.
    OutboxId
);

/// Where a message to a hosted wallet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InboxState {
    /// A behaviour has still to see it.
    Waiting,
    /// A reorganisation took it off the chain before it was handled; it waits to be seen again.
    Withdrawn,
    /// Every behaviour that accepts it is done.
    Handled,
    /// A dead letter: attempts were given up, for the reason that stands beside it.
    Dead,
}

impl InboxState {
    /// The word for it in the store, in tables and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Withdrawn => "withdrawn",
            Self::Handled => "handled",
            Self::Dead => "dead",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Withdrawn, Self::Handled, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Where a transaction that a hosted wallet sends stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxState {
    /// Asked for; it has no nonce yet.
    Queued,
    /// Signed and stored; its bytes may be posted from now on.
    Prepared,
    /// The node has it, or may have it.
    Accepted,
    /// It stands in a block.
    Mined,
    /// The block that holds it is `final_depth` deep.
    Final,
    /// It was refused or dropped for good.
    Failed,
}

impl OutboxState {
    /// The word for it in the store, in tables and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Prepared => "prepared",
            Self::Accepted => "accepted",
            Self::Mined => "mined",
            Self::Final => "final",
            Self::Failed => "failed",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::Prepared,
            Self::Accepted,
            Self::Mined,
            Self::Final,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
    }
}

/// A hosted wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its row.
    pub id: AgentId,
    /// Its address.
    pub address: Address,
    /// Its name in agents.toml, when it was last hosted.
    pub name: String,
    /// The highest nonce that was ever allotted to it.
    pub last_nonce: Option<i64>,
}

/// A message that waits for its agent.
#[derive(Clone, Debug)]
pub struct DueMessage {
    /// Its row.
    pub id: InboxId,
    /// Hash of the transaction that carried it.
    pub hash: TransactionHash,
    /// Its identity.
    pub digest: MessageDigest,
    /// The transaction.
    pub stored: StoredTransaction,
    /// The block that holds it.
    pub height: BlockHeight,
    /// What is known of its sender.
    pub authenticity: Authenticity,
    /// How many attempts have failed.
    pub attempts: u32,
    /// The behaviours that are done with it.
    pub done: Vec<String>,
}

/// What a transaction is to say; it has neither nonce nor signature yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// What asked for it. The same origin is the same request, and becomes one row.
    pub origin: String,
    /// To whom.
    pub recipient: Address,
    /// What it transfers, in AIT.
    pub amount: u64,
    /// What it pays, in AIT.
    pub fee: u64,
    /// The message.
    pub payload: Json,
}

impl Draft {
    /// What the wallet needs to pay for it: amount and fee, in AIT.
    pub const fn cost(&self) -> u64 {
        self.amount.saturating_add(self.fee)
    }
}

/// A draft's nonce, and the signed bytes that were made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The nonce.
    pub nonce: i64,
    /// Hash of the transaction.
    pub hash: TransactionHash,
    /// The message's identity.
    pub digest: MessageDigest,
    /// What is posted, byte for byte, however often.
    pub body: String,
    /// The last block that had been read when it was signed: it stands in none up to there.
    pub since: BlockHeight,
}

/// A row of the outbox, as the submitter follows it.
#[derive(Clone, Debug)]
pub struct OpenTransaction {
    /// Its row.
    pub id: OutboxId,
    /// Who sends it.
    pub agent: AgentId,
    /// Its hash.
    pub hash: TransactionHash,
    /// Its nonce.
    pub nonce: i64,
    /// What the wallet needs to pay for it: amount and fee, in AIT.
    pub cost: u64,
    /// It stands in no block up to this one.
    pub since: BlockHeight,
}

/// A draft that waits for its nonce.
#[derive(Clone, Debug)]
pub struct QueuedDraft {
    /// Its row.
    pub id: OutboxId,
    /// Who sends it.
    pub agent: AgentId,
    /// What it is to say.
    pub draft: Draft,
}
