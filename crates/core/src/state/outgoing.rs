//! The transactions that hosted wallets send.

use std::collections::BTreeSet;

use agentry_protocol::{Amount, MessageDigest, Timestamp};

use super::claims::{Anchor, Stored};
use super::row::{Outgoing, outbox};
use super::{Refusal, State, next};
use crate::commit::{Changes, PostResult, SendResult};
use crate::rows::{
    AgentId, Charge, Draft, InboxId, OpenTransaction, OutboxId, OutboxState, Prepared, ReceiptState,
};

/// The reason of a draft that expired before it was signed.
const EXPIRED: &str = "it expired before it could be sent";

impl State {
    /// Adds a transaction and its signed bytes to the outbox. The same origin is the same request:
    /// its first row stays.
    pub(super) fn enqueue(
        &mut self,
        from: (AgentId, Option<InboxId>),
        draft: &Draft,
        prepared: Option<&Prepared>,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<SendResult, Refusal> {
        match (self.add_draft(from, draft, at)?, prepared) {
            (SendResult::Stored(id), Some(prepared)) => self.prepare(id, prepared, at, changes),
            (sent, _) => Ok(sent),
        }
    }

    /// Adds what an outcome sends. What the chain already shows is not sent again.
    pub(super) fn send_all(
        &mut self,
        from: (AgentId, Option<InboxId>),
        anchor: Option<Anchor>,
        sends: &[(Draft, Option<Prepared>)],
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<Vec<SendResult>, Refusal> {
        let mut results = Vec::with_capacity(sends.len());
        let mut stored = Vec::with_capacity(sends.len());
        for (draft, prepared) in sends {
            let result = self.add_draft(from, draft, at)?;
            if let SendResult::Stored(id) = result {
                stored.push(Stored {
                    id,
                    draft,
                    prepared: prepared.as_ref(),
                });
            }
            results.push(result);
        }
        let claimed = self.claim(from.0, anchor, &stored, at, changes)?;
        for (result, (_, prepared)) in results.iter_mut().zip(sends) {
            match (*result, prepared) {
                (SendResult::Stored(id), _) if claimed.contains(&id) => {
                    *result = SendResult::OnChain(id);
                }
                (SendResult::Stored(id), Some(prepared)) => {
                    *result = self.prepare(id, prepared, at, changes)?;
                }
                _ => {}
            }
        }
        Ok(results)
    }

    fn add_draft(
        &mut self,
        (agent, inbox): (AgentId, Option<InboxId>),
        draft: &Draft,
        at: Timestamp,
    ) -> Result<SendResult, Refusal> {
        if let Some(amount) = [draft.amount, draft.fee]
            .into_iter()
            .find(|amount| *amount > Amount::MAX)
        {
            return Err(Refusal::Amount(amount));
        }
        let known = self
            .outbox
            .find(&outbox::Index::Origin(draft.origin.clone()));
        if let Some(known) = known {
            return Ok(SendResult::Known(known.id));
        }
        self.check_agent(agent)?;
        let id = OutboxId(next(&mut self.facts.ids.outbox));
        self.outbox.put(Outgoing {
            id,
            agent,
            origin: draft.origin.clone(),
            inbox,
            recipient: draft.recipient.clone(),
            amount: draft.amount,
            fee: draft.fee,
            payload: draft.payload.clone(),
            state: OutboxState::Queued,
            reason: None,
            signed: None,
            since: None,
            posts: 0,
            posted_at: None,
            block: None,
            created_at: at,
            prepared_at: None,
            accepted_at: None,
            mined_at: None,
            settled_at: None,
            message_id: draft.message_id,
            resend_of: None,
            expires_at: draft.expires_at,
            budget_day: None,
            held: false,
            unapproved: draft.unapproved,
            cause: draft.cause.clone(),
        });
        if let Some(request) = &draft.receipt {
            self.track(id, agent, request, at);
        }
        Ok(SendResult::Stored(id))
    }

    /// Stores a draft's nonce and signed bytes; the day's budget pays for it.
    pub(super) fn prepare(
        &mut self,
        id: OutboxId,
        prepared: &Prepared,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<SendResult, Refusal> {
        if self.claim_queued(id, prepared, at, changes)? {
            return Ok(SendResult::OnChain(id));
        }
        let queued = self
            .outbox
            .get(&id)
            .filter(|row| row.state == OutboxState::Queued && !row.unapproved);
        let Some(agent) = queued.map(|row| row.agent) else {
            return Ok(SendResult::Known(id));
        };
        self.check_digest(id, prepared.digest)?;
        self.outbox.change(&id, |row| {
            row.state = OutboxState::Prepared;
            row.reason = None;
            row.signed = Some(outbox::Signed {
                nonce: prepared.nonce,
                hash: prepared.hash,
                digest: prepared.digest,
                body: prepared.body.as_str().into(),
            });
            row.prepared_at = Some(at);
            row.since = Some(prepared.since);
        });
        self.spend_nonce(agent, prepared.nonce);
        self.charge(id, prepared.day);
        Ok(match self.claim_same_bytes(id, at, changes)? {
            true => SendResult::OnChain(id),
            false => SendResult::Stored(id),
        })
    }

    /// Checks that no other transaction has these signed bytes.
    pub(super) fn check_digest(&self, id: OutboxId, digest: MessageDigest) -> Result<(), Refusal> {
        match self.outbox.find(&outbox::Index::Digest(digest)) {
            Some(other) if other.id != id => Err(Refusal::SameBytes(other.id)),
            _ => Ok(()),
        }
    }

    /// Queued drafts that have expired are no longer sent.
    pub(super) fn expire_queued(&mut self, at: Timestamp, changes: &mut Changes) {
        let from = outbox::Index::Expiry(Timestamp::EPOCH, OutboxId(i64::MIN));
        let to = outbox::Index::Expiry(at, OutboxId(i64::MIN));
        let expired: Vec<_> = self
            .outbox
            .range(from..to)
            .map(|row| (row.id, row.agent, row.cause.clone()))
            .collect();
        changes.rows = expired.len();
        let mut settled = BTreeSet::new();
        for (id, ..) in &expired {
            self.outbox.change(id, |row| {
                row.state = OutboxState::Failed;
                row.reason = Some(EXPIRED.to_owned());
                row.settled_at = Some(at);
                row.held = false;
            });
        }
        for (id, agent, cause) in expired {
            self.acknowledge(id, ReceiptState::Expired, None, at, changes);
            settled.insert((agent, cause));
        }
        self.bound_settled(&settled);
    }

    /// Applies the result of a POST.
    pub(super) fn post(
        &mut self,
        id: OutboxId,
        result: &PostResult,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(row) = self.outbox.get(&id).filter(|row| row.is_open()) else {
            return;
        };
        let settled = (row.agent, row.cause.clone());
        match result {
            PostResult::Accepted => {
                self.outbox.change(&id, |row| {
                    row.state = OutboxState::Accepted;
                    row.reason = None;
                    // The same POST counts once.
                    if row.posted_at.replace(at) != Some(at) {
                        row.posts = row.posts.saturating_add(1);
                    }
                    row.accepted_at.get_or_insert(at);
                });
            }
            PostResult::Failed { reason } => {
                self.outbox.change(&id, |row| {
                    row.state = OutboxState::Failed;
                    row.reason = Some(reason.clone());
                    row.settled_at = Some(at);
                });
                self.refund(id);
                self.acknowledge(id, ReceiptState::Unsent, Some(reason), at, changes);
                self.bound_settled(&BTreeSet::from([settled]));
            }
            PostResult::Standing { height, block_hash } => {
                self.outbox.change(&id, |row| {
                    row.state = OutboxState::Mined;
                    row.reason = None;
                    row.block = Some((*height, Some(*block_hash)));
                    row.accepted_at.get_or_insert(at);
                    row.mined_at = Some(at);
                });
                self.receipt_mined(id, *height, at, changes);
            }
            PostResult::Waiting { reason } => {
                self.outbox
                    .change(&id, |row| row.reason = Some(reason.clone()));
            }
        }
    }

    /// Stores why transactions wait for a block.
    pub(super) fn explain(&mut self, ids: &[OutboxId], reason: &str) {
        for id in ids {
            self.outbox.change(id, |row| {
                if row.is_open() {
                    row.reason = Some(reason.to_owned());
                }
            });
        }
    }

    /// Another transaction has spent a signed transaction's nonce: it will be re-signed and paid
    /// for again.
    pub(super) fn requeue(&mut self, id: OutboxId, reason: &str) {
        if !self.outbox.get(&id).is_some_and(|row| row.is_open()) {
            return;
        }
        self.outbox.change(&id, |row| {
            row.state = OutboxState::Queued;
            row.reason = Some(reason.to_owned());
            row.signed = None;
            row.since = None;
            row.posts = 0;
            row.posted_at = None;
        });
        self.refund(id);
    }

    /// A transaction that must be followed: signed, and in no block.
    pub fn open_transaction(&self, id: OutboxId) -> Option<OpenTransaction> {
        let row = self.outbox.get(&id).filter(|row| row.is_open())?;
        let signed = row.signed.as_ref()?;
        Some(OpenTransaction {
            id,
            agent: row.agent,
            hash: signed.hash,
            nonce: signed.nonce,
            cost: row.cost(),
            since: row.since.unwrap_or_default(),
            charge: row.budget_day.map(|day| Charge {
                agent: row.agent,
                day,
                cost: row.cost(),
                cause: row.cause.clone(),
            }),
        })
    }
}
