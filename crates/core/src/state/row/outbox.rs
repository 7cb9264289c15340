//! The transactions that hosted wallets send.

use std::sync::Arc;

use agentry_protocol::{
    Address, Amount, BlockHash, BlockHeight, Json, MessageDigest, MessageId, Nonce, Timestamp,
    TransactionHash,
};

use crate::cause::Cause;
use crate::rows::{AgentId, Draft, InboxId, OutboxId, OutboxState, ReceiptState};
use crate::state::table::Row;
use crate::state::usage::{Kind, Used};

/// A transaction that a hosted wallet sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Its id, which is never assigned twice.
    pub id: OutboxId,
    /// The wallet.
    pub agent: AgentId,
    /// What requested it: the same request is one row.
    pub origin: String,
    /// The message that it follows from.
    pub inbox: Option<InboxId>,
    /// Its recipient.
    pub recipient: Address,
    /// The amount that it transfers.
    pub amount: Amount,
    /// The fee that it pays.
    pub fee: Amount,
    /// The message.
    pub payload: Json,
    /// Its state.
    pub state: OutboxState,
    /// Why it waits or failed.
    pub reason: Option<String>,
    /// What was signed; `None` while it is queued, and if it failed before it was signed.
    pub signed: Option<Signed>,
    /// It is in no block up to this one.
    pub since: Option<BlockHeight>,
    /// How many times it was posted and accepted.
    pub posts: u32,
    /// When it was posted last.
    pub posted_at: Option<Timestamp>,
    /// The block that holds it.
    pub block: Option<(BlockHeight, Option<BlockHash>)>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When it was signed.
    pub prepared_at: Option<Timestamp>,
    /// When the node accepted it first.
    pub accepted_at: Option<Timestamp>,
    /// When it was mined.
    pub mined_at: Option<Timestamp>,
    /// When it became final or failed.
    pub settled_at: Option<Timestamp>,
    /// The id in its header.
    pub message_id: Option<MessageId>,
    /// The transaction whose message it carries again.
    pub resend_of: Option<OutboxId>,
    /// When it expires: it is not signed after that.
    pub expires_at: Option<Timestamp>,
    /// The day whose budget paid for it.
    pub budget_day: Option<u64>,
    /// Whether it waits for a budget.
    pub held: bool,
    /// Whether it waits for an operator's approval; if it has failed, whether it was never approved.
    pub unapproved: bool,
    /// Who caused it.
    pub cause: Cause,
}

/// The signed bytes of a transaction, and what they contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Its nonce.
    pub nonce: Nonce,
    /// Its hash.
    pub hash: TransactionHash,
    /// The message's identity.
    pub digest: MessageDigest,
    /// The bytes, as posted.
    pub body: Arc<str>,
}

impl Outgoing {
    /// What it was requested to be. Who receives delivery updates on it is not a part of the row.
    pub fn draft(&self) -> Draft {
        Draft {
            origin: self.origin.clone(),
            recipient: self.recipient.clone(),
            amount: self.amount,
            fee: self.fee,
            payload: self.payload.clone(),
            message_id: self.message_id,
            expires_at: self.expires_at,
            cause: self.cause.clone(),
            receipt: None,
            unapproved: self.unapproved,
        }
    }

    /// What the wallet pays for it.
    pub const fn cost(&self) -> Amount {
        self.amount.saturating_add(self.fee)
    }

    /// The first transaction that carried its message.
    pub fn first(&self) -> OutboxId {
        self.resend_of.unwrap_or(self.id)
    }

    /// Whether it is signed, and in no block.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, OutboxState::Prepared | OutboxState::Accepted)
    }
}

/// How a transaction is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// By what requested it.
    Origin(String),
    /// By its hash.
    Hash(TransactionHash, OutboxId),
    /// By its digest.
    Digest(MessageDigest),
    /// Queued, not held by a budget, and approved if that is needed.
    Queued(AgentId, OutboxId),
    /// Held by a budget, by the words of the cause.
    Held(AgentId, &'static str, String, OutboxId),
    /// Queued, by the time at which it expires.
    Expiry(Timestamp, OutboxId),
    /// Signed, and in no block.
    Open(AgentId, OutboxId),
    /// Mined, by its nonce.
    Nonce(AgentId, Nonce, OutboxId),
    /// Mined and not final, by the height of its block.
    Mined(BlockHeight, OutboxId),
    /// Final, by the height of its block.
    Final(BlockHeight, OutboxId),
    /// Signed and not final: it is in no block up to this one.
    Since(BlockHeight, OutboxId),
    /// By the message that it follows from.
    Inbox(InboxId, OutboxId),
    /// Failed.
    Failed(AgentId, OutboxId),
    /// Settled at this time.
    Settled(Timestamp, OutboxId),
    /// By the first transaction that carried its message.
    Resend(OutboxId, OutboxId),
    /// Settled, by the words of the cause, state and time.
    Prunable(
        AgentId,
        &'static str,
        String,
        &'static str,
        Timestamp,
        OutboxId,
    ),
}

impl Index {
    /// The ends of what may be pruned of a cause, in one state.
    pub(crate) fn prunable(agent: AgentId, cause: &Cause, state: OutboxState) -> (Self, Self) {
        let at = |time, id| {
            let (standing, sender) = cause.words();
            let (sender, state) = (sender.to_owned(), state.as_str());
            Self::Prunable(agent, standing, sender, state, time, OutboxId(id))
        };
        (at(Timestamp::EPOCH, i64::MIN), at(Timestamp::MAX, i64::MAX))
    }
}

impl Row for Outgoing {
    type Key = OutboxId;
    type Index = Index;

    fn key(&self) -> OutboxId {
        self.id
    }

    fn is_open(entry: &Index) -> bool {
        matches!(
            entry,
            Index::Queued(..) | Index::Held(..) | Index::Expiry(..) | Index::Open(..)
        )
    }

    fn indexes(&self) -> Vec<Index> {
        let (agent, id) = (self.agent, self.id);
        let (standing, sender) = self.cause.words();
        let mut entries = vec![Index::Origin(self.origin.clone())];
        if let Some(signed) = &self.signed {
            entries.push(Index::Hash(signed.hash, id));
            entries.push(Index::Digest(signed.digest));
            if let Some(since) = self.since
                && self.state != OutboxState::Final
            {
                entries.push(Index::Since(since, id));
            }
        }
        match self.state {
            OutboxState::Queued => {
                if !self.unapproved {
                    entries.push(match self.held {
                        true => Index::Held(agent, standing, sender.to_owned(), id),
                        false => Index::Queued(agent, id),
                    });
                }
                entries.extend(self.expires_at.map(|at| Index::Expiry(at, id)));
            }
            OutboxState::Prepared | OutboxState::Accepted => entries.push(Index::Open(agent, id)),
            OutboxState::Mined | OutboxState::Final => {
                let signed = self.signed.as_ref();
                entries.extend(signed.map(|signed| Index::Nonce(agent, signed.nonce, id)));
            }
            OutboxState::Failed => entries.push(Index::Failed(agent, id)),
        }
        match (self.state, self.block) {
            (OutboxState::Mined, Some((height, _))) => entries.push(Index::Mined(height, id)),
            (OutboxState::Final, Some((height, _))) => entries.push(Index::Final(height, id)),
            _ => {}
        }
        if let Some(inbox) = self.inbox {
            entries.push(Index::Inbox(inbox, id));
        }
        if let Some(first) = self.resend_of {
            entries.push(Index::Resend(first, id));
        }
        if let Some(at) = self.settled_at {
            entries.push(Index::Settled(at, id));
            entries.push(Index::Prunable(
                agent,
                standing,
                sender.to_owned(),
                self.state.as_str(),
                at,
                id,
            ));
        }
        entries
    }

    fn uses(&self) -> Vec<Used> {
        let used = |kind, more: usize| Used {
            agent: self.agent,
            kind,
            cause: self.cause.clone(),
            bytes: (self.payload.to_compact().len() + more) as u64,
        };
        let mut uses = Vec::new();
        if self.state == OutboxState::Queued {
            uses.push(used(Kind::Queued, 0));
        }
        if self.settled_at.is_some() {
            let body = self.signed.as_ref().map_or(0, |signed| signed.body.len());
            uses.push(used(Kind::Settled, body));
        }
        uses
    }

    fn bytes(&self) -> usize {
        // The payload is a part of the signed bytes.
        let body = self.signed.as_ref().map(|signed| signed.body.len());
        body.map_or_else(|| self.payload.to_compact().len(), |body| 2 * body)
    }
}

/// What is known about the delivery of a sent message, if delivery updates were requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// The first transaction that carried the message.
    pub outbox: OutboxId,
    /// The agent that sent it.
    pub agent: AgentId,
    /// The behaviour that is told; nobody if `None`.
    pub behaviour: Option<String>,
    /// The label under which the behaviour is told.
    pub label: Option<String>,
    /// The requested acknowledgment: `received` or `done`.
    pub wanted: Option<String>,
    /// What is known.
    pub state: ReceiptState,
    /// The recipient's explanation, or why it was not sent.
    pub detail: Option<String>,
    /// How long an acknowledgment may take after the message is mined, in milliseconds.
    pub within_ms: u64,
    /// How many more times the message is sent again.
    pub resends_left: u32,
    /// Whether the behaviour knows that the message was mined.
    pub mined: bool,
    /// When the acknowledgment is overdue; `None` until the message is mined, and if none is
    /// awaited.
    pub due_at: Option<Timestamp>,
    /// When this changed last.
    pub changed_at: Timestamp,
}

impl Row for Tracking {
    type Key = OutboxId;
    type Index = (AgentId, Timestamp, OutboxId);

    fn key(&self) -> OutboxId {
        self.outbox
    }

    fn is_open(_: &Self::Index) -> bool {
        true
    }

    /// By the time at which it is overdue.
    fn indexes(&self) -> Vec<Self::Index> {
        let due_at = self.due_at.map(|at| (self.agent, at, self.outbox));
        due_at.into_iter().collect()
    }
}
