//! The messages to hosted wallets.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentry_protocol::{Address, BlockHeight, MessageDigest, Timestamp, TransactionHash};

use crate::Authenticity;
use crate::Standing;
use crate::cause::Cause;
use crate::rows::{AgentId, InboxId, InboxState};
use crate::state::table::Row;
use crate::state::usage::{Kind, Used};

/// The order of a message that arrives is its id times this. So there is room after each message for
/// those that return before the next one arrives.
pub const RETURNS: i64 = 1 << 20;

/// A message to a hosted wallet. Two messages are the same if their verified sender gave them the
/// same id or, without an id, if they have the same digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, which is never assigned twice: what it leads to names it.
    pub id: InboxId,
    /// The agent that it is for.
    pub agent: AgentId,
    /// SHA-256 of the signing text.
    pub digest: MessageDigest,
    /// The transaction that carried it.
    pub hash: TransactionHash,
    /// Its sender.
    pub sender: Address,
    /// Its block; `None` while a reorganisation has withdrawn it.
    pub height: Option<BlockHeight>,
    /// The transaction as the chain keeps it, JSON; empty once it is pruned.
    pub stored: Arc<str>,
    /// Whether its sender is verified.
    pub authenticity: Authenticity,
    /// How well the agent knew the sender when the message arrived.
    pub standing: Standing,
    /// Its state.
    pub state: InboxState,
    /// The order of arrival; assigned again when a withdrawn message returns.
    pub seq: i64,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When it may be tried; the epoch until a first attempt has failed.
    pub due_at: Timestamp,
    /// Why it failed last, waits, or was not acted on.
    pub reason: Option<String>,
    /// When it was seen.
    pub seen_at: Timestamp,
    /// When it was handled, expired, or became a dead letter.
    pub settled_at: Option<Timestamp>,
    /// What identifies it among its sender's messages: its id, or its digest.
    pub identity: String,
    /// The transaction that it answers.
    pub re: Option<TransactionHash>,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Whether it takes priority over other messages.
    pub urgent: bool,
    /// Why a behaviour rejected it.
    pub rejected: Option<String>,
    /// The behaviours that have handled it, while others have not.
    pub done: BTreeSet<String>,
}

impl Message {
    /// Whether it waits for its first attempt, which nothing but its turn and its sender's rate
    /// delays.
    pub fn is_untried(&self) -> bool {
        self.attempts == 0 && self.due_at == Timestamp::EPOCH
    }

    /// Whose share of the agent's resources it uses.
    pub fn cause(&self) -> Cause {
        Cause::of(self.standing, &self.sender)
    }
}

/// A text after all addresses.
const LAST: &str = "\u{10ffff}";

/// A queue of an agent's waiting messages, in which their senders take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Messages that take priority; they are in one of the other lanes, too.
    Urgent,
    /// Messages of verified senders.
    Verified,
    /// Messages of unverified senders.
    Unverified,
}

/// How a message is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// Waiting, by the sender, the time at which it is due and the order of arrival. `None` is
    /// before all senders.
    Waiting(AgentId, Lane, Option<Address>, Timestamp, i64, InboxId),
    /// Waiting, of an unverified sender, never tried, by the time at which it was seen.
    Untried(AgentId, Timestamp, InboxId),
    /// Waiting, of a verified sender, by the transaction that it answers.
    Answers(AgentId, TransactionHash, InboxId),
    /// By the sender and what identifies it.
    Identity(AgentId, Address, String),
    /// By its digest.
    Digest(AgentId, MessageDigest),
    /// By its block.
    Height(BlockHeight, InboxId),
    /// Waiting, in the order of arrival.
    Arrived(AgentId, InboxId),
    /// A dead letter.
    Dead(AgentId, InboxId),
    /// Settled at this time.
    Settled(Timestamp, InboxId),
    /// Settled, with its content, by the sender's standing, the sender and time.
    Prunable(AgentId, &'static str, String, Timestamp, InboxId),
    /// In a block again after a withdrawal, in the order of arrival.
    Returned(i64, InboxId),
}

impl Index {
    /// The ends of what may be pruned of a cause: of all unverified senders together.
    pub(crate) fn prunable(agent: AgentId, cause: &Cause) -> (Self, Self) {
        let (standing, sender) = cause.words();
        let to = if sender.is_empty() { LAST } else { sender };
        let at = |sender: &str, time, id| {
            Self::Prunable(agent, standing, sender.to_owned(), time, InboxId(id))
        };
        (
            at(sender, Timestamp::EPOCH, i64::MIN),
            at(to, Timestamp::MAX, i64::MAX),
        )
    }
}

impl Row for Message {
    type Key = InboxId;
    type Index = Index;

    fn key(&self) -> InboxId {
        self.id
    }

    fn is_open(entry: &Index) -> bool {
        matches!(
            entry,
            Index::Waiting(..) | Index::Untried(..) | Index::Answers(..)
        )
    }

    fn indexes(&self) -> Vec<Index> {
        let mut entries = vec![
            Index::Identity(self.agent, self.sender.clone(), self.identity.clone()),
            Index::Digest(self.agent, self.digest),
        ];
        if let Some(height) = self.height {
            entries.push(Index::Height(height, self.id));
            if self.seq % RETURNS != 0 {
                entries.push(Index::Returned(self.seq, self.id));
            }
        }
        if self.state == InboxState::Dead {
            entries.push(Index::Dead(self.agent, self.id));
        }
        if let Some(at) = self.settled_at {
            entries.push(Index::Settled(at, self.id));
            if !self.stored.is_empty() {
                let (standing, sender) = (self.standing.as_str(), self.sender.to_string());
                entries.push(Index::Prunable(self.agent, standing, sender, at, self.id));
            }
        }
        if self.state == InboxState::Waiting {
            let waiting = |lane| {
                let sender = Some(self.sender.clone());
                Index::Waiting(self.agent, lane, sender, self.due_at, self.seq, self.id)
            };
            entries.push(Index::Arrived(self.agent, self.id));
            if self.urgent {
                entries.push(waiting(Lane::Urgent));
            }
            if self.authenticity == Authenticity::Verified {
                entries.push(waiting(Lane::Verified));
                entries.extend(self.re.map(|re| Index::Answers(self.agent, re, self.id)));
            } else {
                entries.push(waiting(Lane::Unverified));
                if self.is_untried() {
                    entries.push(Index::Untried(self.agent, self.seen_at, self.id));
                }
            }
        }
        entries
    }

    fn uses(&self) -> Vec<Used> {
        vec![Used {
            agent: self.agent,
            kind: Kind::Message,
            cause: self.cause(),
            bytes: self.stored.len() as u64,
        }]
    }

    fn bytes(&self) -> usize {
        self.stored.len()
    }
}

/// A message that names a sender who did not sign it. It reaches no behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forged {
    /// The agent that it is for.
    pub agent: AgentId,
    /// The transaction that carried it.
    pub hash: TransactionHash,
    /// The sender that it names.
    pub sender: Address,
    /// Its block.
    pub height: BlockHeight,
    /// The transaction as the chain keeps it, JSON.
    pub stored: Arc<str>,
    /// When it was seen.
    pub seen_at: Timestamp,
    /// The order of arrival.
    pub order: i64,
}

/// How a forged message is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForgedIndex {
    /// By the time at which it was seen.
    Seen(Timestamp, i64),
    /// An agent's, by the time at which it was seen.
    Oldest(AgentId, Timestamp, i64),
}

impl Row for Forged {
    type Key = (AgentId, TransactionHash);
    type Index = ForgedIndex;

    fn key(&self) -> Self::Key {
        (self.agent, self.hash)
    }

    fn indexes(&self) -> Vec<ForgedIndex> {
        vec![
            ForgedIndex::Seen(self.seen_at, self.order),
            ForgedIndex::Oldest(self.agent, self.seen_at, self.order),
        ]
    }

    fn uses(&self) -> Vec<Used> {
        vec![Used {
            agent: self.agent,
            kind: Kind::Forged,
            cause: Cause::Unverified,
            bytes: self.stored.len() as u64,
        }]
    }

    fn bytes(&self) -> usize {
        self.stored.len()
    }
}
