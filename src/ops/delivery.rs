//! Following a message to its end: in the store of the runtime that sends it, or on the chain.
//!
//! | part | holds |
//! |---|---|
//! | [`watch`] | finding out what has happened to the message |
//! | [`report`] | what has happened, stage by stage, and what has not |

pub mod report;
pub mod watch;

use agentry_chain::NodeError;
use agentry_core::OutboxId;
use agentry_protocol::command::AckStatus;
use agentry_protocol::{Address, TransactionHash};
use agentry_store::StoreError;
use agentry_store::list::talk::Delivery;

use super::content::MessageContent;

/// Why a message cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Its row was deleted.
    #[error("outbox/{0} is no longer in the store")]
    Deleted(OutboxId),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node cannot be queried.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// What is known of a message at some time.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The sender.
    pub from: Option<Address>,
    /// The transactions that carried it, oldest first.
    pub carriers: Vec<Carrier>,
    /// Replies, in the order in which they came.
    pub heard: Vec<Heard>,
    /// The runtime's delivery state, if an acknowledgment was asked for.
    pub delivery: Option<Delivery>,
}

/// A transaction that carried the message.
#[derive(Clone, Debug, Default)]
pub struct Carrier {
    /// Its hash, once it is signed.
    pub hash: Option<TransactionHash>,
    /// Whether the node has accepted it.
    pub accepted: bool,
    /// The block that holds it.
    pub height: Option<u64>,
    /// Whether it has failed and is no longer retried.
    pub failed: bool,
    /// Why it waits or failed.
    pub reason: Option<String>,
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its row in the inbox, if it was read from a store.
    pub inbox: Option<i64>,
    /// Hash of its transaction.
    pub hash: TransactionHash,
    /// The block that holds it.
    pub height: Option<u64>,
    /// Whether its sender is verified.
    pub authenticity: String,
    /// Its content.
    pub what: What,
}

/// The content of a reply.
#[derive(Clone, Debug)]
pub enum What {
    /// An acknowledgment.
    Ack(AckStatus, Option<String>),
    /// Progress of a job.
    Progress(MessageContent),
    /// An answer.
    Answer(MessageContent),
}
