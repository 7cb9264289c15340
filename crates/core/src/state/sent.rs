//! Questions about what hosted wallets have sent.

use std::collections::HashSet;
use std::sync::Arc;

use agentry_protocol::{Address, MessageDigest, Timestamp, TransactionHash};

use super::State;
use super::row::{Outgoing, Tracking, event, inbox, outbox, sighting};
use crate::SentMessage;
use crate::rows::{AgentId, EventId, InboxId, OutboxId};

/// A message of a hosted wallet that may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The first transaction that carried it.
    pub outbox: OutboxId,
    /// The recipient of the message.
    pub recipient: Address,
    /// The behaviour that sent it, if one did.
    pub behaviour: Option<String>,
    /// The label that it gave the message.
    pub label: Option<String>,
}

impl Question {
    /// The message that a transaction carried, and what is known about its delivery.
    pub fn of(sent: &Outgoing, receipt: Option<&Tracking>) -> Self {
        Self {
            outbox: sent.first(),
            recipient: sent.recipient.clone(),
            behaviour: receipt.and_then(|receipt| receipt.behaviour.clone()),
            label: receipt.and_then(|receipt| receipt.label.clone()),
        }
    }
}

/// How long an answer waits for its question to be rebuilt after the chain was read: earlier
/// messages may wait because of their sender's rate limit.
const REBUILT_WITHIN_MS: u64 = 10 * 60 * 1000;

impl State {
    /// The transactions with this hash.
    pub(super) fn with_hash(&self, hash: TransactionHash) -> impl Iterator<Item = Arc<Outgoing>> {
        let at = |id| outbox::Index::Hash(hash, OutboxId(id));
        self.outbox.range(at(i64::MIN)..=at(i64::MAX))
    }

    /// The hashes, of these, of transactions in the outbox.
    pub fn known_hashes(&self, hashes: Vec<TransactionHash>) -> HashSet<TransactionHash> {
        let is_known = |hash: &TransactionHash| self.with_hash(*hash).next().is_some();
        hashes.into_iter().filter(is_known).collect()
    }

    /// The identities, of these, of messages whose bytes are in the outbox.
    pub fn known_digests(&self, digests: Vec<MessageDigest>) -> HashSet<MessageDigest> {
        let is_known = |digest: &MessageDigest| {
            let index = outbox::Index::Digest(*digest);
            self.outbox.find(&index).is_some()
        };
        digests.into_iter().filter(is_known).collect()
    }

    /// The agent's message that a transaction carried.
    pub fn question(&self, agent: AgentId, transaction: TransactionHash) -> Option<Question> {
        let sent = self
            .with_hash(transaction)
            .find(|sent| sent.agent == agent)?;
        let receipt = self.receipts.get(&sent.first());
        Some(Question::of(&sent, receipt.as_deref()))
    }

    /// Whether a hosted wallet's message that a transaction carried is on the chain and may still be
    /// rebuilt: the store has lost it, and behaviours see again what came before the answer.
    pub fn is_being_rebuilt(
        &self,
        agent: AgentId,
        transaction: TransactionHash,
        answer: InboxId,
        now: Timestamp,
    ) -> bool {
        let since = now.minus_ms(REBUILT_WITHIN_MS);
        let at = |id| sighting::Index::Hash(agent, transaction, id);
        let mut seen = self.sightings.range(at(i64::MIN)..=at(i64::MAX));
        if !seen.any(|seen| seen.mark.is_some() && seen.seen_at > since) {
            return false;
        }
        let arrived = |id| inbox::Index::Arrived(agent, id);
        let mut before = self
            .inbox
            .range(arrived(InboxId(i64::MIN))..arrived(answer));
        let due = |at, id| event::Index::Waiting(agent, at, EventId(id));
        let mut due = self
            .events
            .entries(due(Timestamp::EPOCH, i64::MIN)..=due(now, i64::MAX));
        before.next().is_some() || due.next().is_some()
    }

    /// What a behaviour is told about a message that it sent, given by the message's first
    /// transaction.
    pub fn sent_message(&self, outbox: OutboxId, label: String) -> Option<SentMessage> {
        let first = self.outbox.get(&outbox)?;
        let carriers = self.carriers(&first);
        let signed = carriers.iter().rev().find_map(|sent| sent.signed.as_ref());
        Some(SentMessage {
            label,
            to: first.recipient.clone(),
            id: first.message_id,
            transaction: signed.map(|signed| signed.hash),
        })
    }
}
