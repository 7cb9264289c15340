//! The transactions that hosted wallets send.

use std::collections::BTreeSet;

use agentry_protocol::{Amount, MessageDigest};

use super::claims::{Anchor, Stored};
use super::row::{Outgoing, outbox};
use super::{Refusal, State, next};
use crate::commit::{PostResult, Receipt, Sent};
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
        at: u64,
        receipt: &mut Receipt,
    ) -> Result<Sent, Refusal> {
        let sent = self.add_draft(from, draft, at)?;
        match prepared {
            Some(prepared) if sent.fresh => self.prepare(sent.id, prepared, at, receipt),
            _ => Ok(sent),
        }
    }

    /// Adds what an outcome sends. What the chain already shows is not sent again.
    pub(super) fn send_all(
        &mut self,
        from: (AgentId, Option<InboxId>),
        anchor: Option<Anchor>,
        sends: &[(Draft, Option<Prepared>)],
        at: u64,
        receipt: &mut Receipt,
    ) -> Result<Vec<Sent>, Refusal> {
        let mut rows = Vec::with_capacity(sends.len());
        let mut fresh = Vec::with_capacity(sends.len());
        for (draft, prepared) in sends {
            let sent = self.add_draft(from, draft, at)?;
            if sent.fresh {
                fresh.push(Stored {
                    id: sent.id,
                    draft,
                    prepared: prepared.as_ref(),
                });
            }
            rows.push(sent);
        }
        let claimed = self.claim(from.0, anchor, &fresh, at, receipt)?;
        for (row, (_, prepared)) in rows.iter_mut().zip(sends) {
            if claimed.contains(&row.id) {
                row.standing = true;
            } else if let Some(prepared) = prepared.as_ref().filter(|_| row.fresh) {
                *row = self.prepare(row.id, prepared, at, receipt)?;
            }
        }
        Ok(rows)
    }

    fn add_draft(
        &mut self,
        (agent, inbox): (AgentId, Option<InboxId>),
        draft: &Draft,
        at: u64,
    ) -> Result<Sent, Refusal> {
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
            return Ok(Sent {
                id: known.id,
                fresh: false,
                standing: false,
            });
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
            cause: draft.cause.clone(),
        });
        if let Some(request) = &draft.receipt {
            self.track(id, agent, request, at);
        }
        Ok(Sent {
            id,
            fresh: true,
            standing: false,
        })
    }

    /// Stores a draft's nonce and signed bytes; the day's budget pays for it.
    pub(super) fn prepare(
        &mut self,
        id: OutboxId,
        prepared: &Prepared,
        at: u64,
        receipt: &mut Receipt,
    ) -> Result<Sent, Refusal> {
        let sent = |fresh, standing| {
            Ok(Sent {
                id,
                fresh,
                standing,
            })
        };
        if self.claim_queued(id, prepared, at, receipt)? {
            return sent(true, true);
        }
        let queued = self
            .outbox
            .get(&id)
            .filter(|row| row.state == OutboxState::Queued);
        let Some(agent) = queued.map(|row| row.agent) else {
            return sent(false, false);
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
        sent(true, self.claim_same_bytes(id, at, receipt)?)
    }

    /// Checks that no other transaction has these signed bytes.
    pub(super) fn check_digest(&self, id: OutboxId, digest: MessageDigest) -> Result<(), Refusal> {
        match self.outbox.find(&outbox::Index::Digest(digest)) {
            Some(other) if other.id != id => Err(Refusal::SameBytes(other.id)),
            _ => Ok(()),
        }
    }

    /// Queued drafts that have expired are no longer sent.
    pub(super) fn expire_queued(&mut self, at: u64, receipt: &mut Receipt) {
        let from = outbox::Index::Expiry(0, OutboxId(i64::MIN));
        let to = outbox::Index::Expiry(at, OutboxId(i64::MIN));
        let expired: Vec<_> = self
            .outbox
            .range(from..to)
            .map(|row| (row.id, row.agent, row.cause.clone()))
            .collect();
        receipt.changed = expired.len();
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
            self.acknowledge(id, ReceiptState::Expired, None, at, receipt);
            settled.insert((agent, cause));
        }
        self.bound_settled(&settled);
    }

    /// Applies the result of a POST. Returns how many rows changed.
    pub(super) fn post(
        &mut self,
        id: OutboxId,
        result: &PostResult,
        at: u64,
        receipt: &mut Receipt,
    ) -> usize {
        let Some(row) = self.outbox.get(&id).filter(|row| row.is_open()) else {
            return 0;
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
                self.acknowledge(id, ReceiptState::Unsent, Some(reason), at, receipt);
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
                self.receipt_mined(id, *height, at, receipt);
            }
            PostResult::Waiting { reason } => {
                self.outbox
                    .change(&id, |row| row.reason = Some(reason.clone()));
            }
        }
        1
    }

    /// Stores why transactions wait for a block. Returns how many wait.
    pub(super) fn explain(&mut self, ids: &[OutboxId], reason: &str) -> usize {
        let mut changed = 0;
        for id in ids {
            self.outbox.change(id, |row| {
                if row.is_open() {
                    row.reason = Some(reason.to_owned());
                    changed += 1;
                }
            });
        }
        changed
    }

    /// Another transaction has spent a signed transaction's nonce: it will be re-signed and paid
    /// for again. Returns how many rows changed.
    pub(super) fn requeue(&mut self, id: OutboxId, reason: &str) -> usize {
        if !self.outbox.get(&id).is_some_and(|row| row.is_open()) {
            return 0;
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
        1
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
