//! Every durable change, as one serialisable value.

use agentry_protocol::{
    Address, BlockHash, BlockHeight, ChainId, MessageDigest, StoredTransaction, TransactionHash,
};
use agentry_sdk::Authenticity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rows::{AgentId, Draft, InboxId, OpenTransaction, OutboxId, Prepared};

/// One atomic change: all of it is in the store, or nothing.
///
/// A commit says *what* happened and when (`at`: milliseconds since the epoch), never how the
/// tables change; that is `apply`'s business alone. It can be carried out twice: what is already
/// so stays so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Commit {
    /// The runtime starts: this is its chain.
    Identify {
        /// The chain's id.
        chain_id: ChainId,
        /// Hash of its block 0.
        genesis: BlockHash,
    },
    /// The runtime starts: these are its agents.
    Host {
        /// All of them.
        agents: Vec<HostedAgent>,
    },
    /// The chain was read on.
    Observe(Observation),
    /// A behaviour is done with a message.
    Outcome(Outcome),
    /// A run for a message failed.
    Failure {
        /// The message.
        message: InboxId,
        /// How many attempts had failed before this one.
        attempts: u32,
        /// What went wrong.
        reason: String,
        /// When to try again; never, where `None`.
        retry_at: Option<u64>,
        /// When it failed.
        at: u64,
    },
    /// Somebody asks to send from a hosted wallet.
    Send {
        /// Which wallet.
        agent: AgentId,
        /// What to say.
        draft: Draft,
        /// The signed bytes, where a nonce was free at once.
        prepared: Option<Prepared>,
        /// When.
        at: u64,
    },
    /// Queued transactions were given nonces and signed.
    Prepare {
        /// Which, and what came of it.
        prepared: Vec<(OutboxId, Prepared)>,
        /// When.
        at: u64,
    },
    /// A transaction was posted, or cannot be.
    Post {
        /// Which.
        id: OutboxId,
        /// What came of it.
        result: PostResult,
        /// When.
        at: u64,
    },
    /// A signed transaction's nonce is spent by another: it must be signed anew (`sequential`).
    Renounce {
        /// Which.
        id: OutboxId,
        /// Why.
        reason: String,
    },
    /// An operator wants dead letters or failed transactions tried again.
    Retry {
        /// Which.
        target: QueueTarget,
    },
    /// An operator wants a message not handled, or a transaction not sent.
    Drop {
        /// Which.
        target: QueueTarget,
        /// When.
        at: u64,
    },
    /// Posting stops until an operator resumes it.
    Halt {
        /// Why.
        reason: String,
    },
    /// An operator lets posting go on.
    Resume,
    /// What was settled before this time is forgotten.
    Forget {
        /// Milliseconds since the epoch.
        before: u64,
    },
}

/// A wallet that is hosted from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedAgent {
    /// Its address.
    pub address: Address,
    /// Its name in agents.toml.
    pub name: String,
    /// Where it begins, if the store does not know it yet: lower blocks are not its business.
    pub start_height: BlockHeight,
}

/// What one reading of the chain brought, in the chain's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What was seen.
    pub steps: Vec<Step>,
    /// The source's position after them, as it wants it back.
    pub cursor: Value,
    /// Mined transactions in blocks up to this one are final.
    pub final_through: Option<BlockHeight>,
    /// When.
    pub at: u64,
}

/// One thing that was seen on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// A message to a hosted wallet.
    Arrival(Arrival),
    /// A transaction from a hosted wallet, in a block.
    Sighting {
        /// Who sent it.
        agent: AgentId,
        /// Its hash, as the node spells the transaction.
        hash: TransactionHash,
        /// The message's identity, where the signature is the wallet's own.
        digest: Option<MessageDigest>,
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        block_hash: Option<BlockHash>,
    },
    /// Blocks were withdrawn.
    Withdrawn {
        /// What is higher is no longer on the chain; all of it, where `None`.
        above: Option<BlockHeight>,
    },
    /// A height could not be read whole.
    Gap {
        /// Which.
        height: BlockHeight,
        /// Why.
        reason: String,
    },
    /// It could, later.
    GapFilled {
        /// Which.
        height: BlockHeight,
    },
}

/// A message to a hosted wallet, seen on the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// To whom.
    pub agent: AgentId,
    /// Hash of the transaction that carries it.
    pub hash: TransactionHash,
    /// Its identity.
    pub digest: MessageDigest,
    /// Who it says it is from.
    pub sender: Address,
    /// The block.
    pub height: BlockHeight,
    /// The transaction as the chain keeps it, canonical JSON.
    pub stored: String,
    /// What is known of the sender.
    pub authenticity: Authenticity,
}

impl Arrival {
    /// An arrival of a transaction.
    pub fn new(
        agent: AgentId,
        hash: TransactionHash,
        stored: &StoredTransaction,
        height: BlockHeight,
        authenticity: Authenticity,
    ) -> Self {
        Self {
            agent,
            hash,
            digest: stored.digest(),
            sender: stored.from.clone(),
            height,
            stored: stored.stored_text(),
            authenticity,
        }
    }
}

/// What came of one behaviour's run for a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The message.
    pub message: InboxId,
    /// How many attempts had failed before this one: an outcome of an older attempt is stale.
    pub attempts: u32,
    /// The behaviour, by its name in the agent; `None` where none accepts the message.
    pub behaviour: Option<String>,
    /// What it sends, with the signed bytes where a nonce was free at once.
    pub sends: Vec<(Draft, Option<Prepared>)>,
    /// What it remembers (`Some`) and forgets (`None`).
    pub state: Vec<(String, Option<Value>)>,
    /// No other behaviour is to see the message.
    pub handled: bool,
    /// When.
    pub at: u64,
}

/// What came of a POST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostResult {
    /// The node took it, or may have taken it.
    Accepted,
    /// The node refuses it for good.
    Failed {
        /// In its words.
        reason: String,
    },
    /// It stands in a block of the node that is posted to, which the source cannot show.
    Standing {
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        block_hash: BlockHash,
    },
    /// It waits for something that may come; it is not with the node.
    Waiting {
        /// For what.
        reason: String,
    },
}

/// A row of a queue, as an operator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueTarget {
    /// A message.
    Inbox(InboxId),
    /// A transaction.
    Outbox(OutboxId),
    /// All dead letters and all failed transactions.
    All,
}

/// The row of something that was asked to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The row.
    pub id: OutboxId,
    /// Whether the request made it; otherwise it was there before, with other signed bytes.
    pub fresh: bool,
}

/// What a commit changed, for those who must act on it.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// The commit came too late: the message was withdrawn, settled or tried again since. Nothing
    /// was changed.
    pub stale: bool,
    /// How many rows it changed that the commit was about.
    pub changed: usize,
    /// The agents that have something to do now.
    pub due: Vec<AgentId>,
    /// The rows of what was asked to be sent, in the order of the request.
    pub sends: Vec<Sent>,
    /// The transactions that stand in a block since.
    pub mined: Vec<(OutboxId, TransactionHash)>,
    /// The transactions that must be followed (again): signed, and in no block.
    pub reopened: Vec<OpenTransaction>,
    /// The rows of the hosted wallets, in the order of the request.
    pub agents: Vec<AgentId>,
    /// New messages.
    pub arrived: usize,
    /// Messages that were already known.
    pub repeated: usize,
}
