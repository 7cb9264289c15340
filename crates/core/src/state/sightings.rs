//! Transactions of hosted wallets on the chain that the outbox does not know.
//!
//! A store that was restored from a backup does not know what was signed after the backup, and a
//! new store never knew it. So a hosted wallet's transaction that matches no row of the outbox is
//! kept: its nonce counts as spent, and the same bytes count as mined when they are signed again,
//! whichever of the two happens first. What agents would send again [claims](super::claims) it.

use std::sync::Arc;

use agentry_protocol::{
    BlockHash, BlockHeight, Limits, Nonce, SignedTransaction, Timestamp, TransactionHash,
};

use super::row::{Sighting, outbox, sighting, task};
use super::{Refusal, State, claims, next};
use crate::commit::{Changes, OwnTransaction};
use crate::fingerprint::JOB_END;
use crate::rows::{AgentId, OutboxId, OutboxState, TaskId};

/// When and how a transaction was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The block that holds it; `None` while it is pending.
    pub(super) block: Option<(BlockHeight, Option<BlockHash>)>,
    /// The last row of the outbox at the start, while agents do not act yet.
    pub(super) mark: Option<OutboxId>,
    pub(super) at: Timestamp,
    /// No timer that was due later than this has sent it.
    pub(super) latest: Timestamp,
}

impl State {
    /// Keeps a transaction that matches no row of the outbox.
    pub(super) fn keep_sighting(
        &mut self,
        agent: AgentId,
        hash: TransactionHash,
        own: &OwnTransaction,
        seen: Seen,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        self.check_agent(agent)?;
        let block = seen.block.map(|(height, _)| height);
        let block_hash = seen.block.and_then(|(_, hash)| hash);
        let known = self
            .sightings
            .find(&sighting::Index::Digest(agent, own.digest));
        match known.map(|known| known.id) {
            Some(known) => {
                self.sightings.change(&known, |row| {
                    if block.is_some() && (block != row.block || block_hash.is_some()) {
                        row.block = block;
                        row.block_hash = block_hash;
                    }
                    row.hash = hash;
                    row.mark = row.mark.or(seen.mark);
                });
            }
            None => self.sightings.put(Sighting {
                id: next(&mut self.facts.ids.sighting),
                agent,
                digest: own.digest,
                hash,
                nonce: own.nonce,
                recipient: own.recipient.clone(),
                amount: own.amount,
                fee: own.fee,
                kind: own.says.kind.clone(),
                content: own.says.content,
                message_id: own.says.id,
                re: own.says.re,
                body: own.body.as_str().into(),
                block,
                block_hash,
                mark: seen.mark,
                seen_at: seen.latest,
            }),
        }
        if let Some(nonce) = own.nonce {
            self.spend_nonce(agent, nonce);
            changes.nonces.push((agent, nonce));
        }
        if let (Some(_), Some(re), JOB_END) = (seen.mark, own.says.re, own.says.kind.as_str()) {
            self.end_job(agent, re, own, seen.at, changes);
        }
        Ok(())
    }

    /// Ends an open job whose end this transaction reports: the work is not done again.
    fn end_job(
        &mut self,
        agent: AgentId,
        job: TransactionHash,
        own: &OwnTransaction,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some((end, duration_ms)) = claims::reported_end(&own.body) else {
            return;
        };
        let key = job.to_string();
        let asked = |inbox| {
            let message = self.inbox.get(&inbox);
            message.is_some_and(|row| row.hash == job && row.sender == own.recipient)
        };
        let of = |id| task::Index::Open(agent, key.clone(), TaskId(id));
        let open: Vec<_> = self
            .tasks
            .range(of(i64::MIN)..=of(i64::MAX))
            .filter(|task| task.inbox.is_some_and(asked))
            .map(|task| (task.id, task.attempts))
            .collect();
        for (task, attempts) in open {
            self.end_task((task, attempts), (&end, None), duration_ms, at, changes);
        }
    }

    /// Marks a nonce of a wallet as spent: it is assigned to no other transaction.
    pub(super) fn spend_nonce(&mut self, agent: AgentId, nonce: Nonce) {
        self.agents.change(&agent, |row| {
            row.last_nonce = row.last_nonce.max(Some(nonce));
        });
    }

    /// Looks for a sighting of the bytes that were just signed for a row of the outbox. Returns
    /// whether there is one.
    pub(super) fn claim_same_bytes(
        &mut self,
        id: OutboxId,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<bool, Refusal> {
        let found = self.outbox.get(&id).and_then(|row| {
            let digest = row.signed.as_ref()?.digest;
            let found = self
                .sightings
                .find(&sighting::Index::Digest(row.agent, digest))?;
            found.nonce.map(|_| found.id)
        });
        match found {
            Some(found) => self.take_over(id, found, at, changes).map(|()| true),
            None => Ok(false),
        }
    }

    /// Turns a row of the outbox into this transaction, which is mined or pending.
    pub(super) fn take_over(
        &mut self,
        id: OutboxId,
        sighting: i64,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let Some(found) = self.sightings.get(&sighting) else {
            return Ok(());
        };
        let Some(nonce) = found.nonce else {
            return Ok(());
        };
        self.check_digest(id, found.digest)?;
        let signed = SignedTransaction::from_body(found.body.as_bytes(), Limits::default());
        let payload = signed.ok().map(|signed| signed.draft().into_owned());
        let height = found.block;
        self.outbox.change(&id, |row| {
            row.state = match height {
                Some(_) => OutboxState::Mined,
                None => OutboxState::Accepted,
            };
            row.reason = None;
            row.held = false;
            row.unapproved = false;
            row.signed = Some(outbox::Signed {
                nonce,
                hash: found.hash,
                digest: found.digest,
                body: Arc::clone(&found.body),
            });
            row.message_id = found.message_id;
            row.fee = found.fee.unwrap_or(row.fee);
            row.block = height.map(|height| (height, found.block_hash));
            if let Some(payload) = payload {
                row.payload = payload;
            }
            row.since = Some(BlockHeight(0));
            row.prepared_at.get_or_insert(at);
            row.accepted_at.get_or_insert(at);
            row.mined_at = height.map(|_| at);
        });
        self.sightings.remove(&sighting);
        // The money was spent, whatever the budget says.
        let paid = self.charge_again(id, at.day());
        changes.recharged.extend(paid);
        match height {
            Some(height) => self.receipt_mined(id, height, at, changes),
            None => changes.reopened.extend(self.open_transaction(id)),
        }
        Ok(())
    }

    /// Blocks from `first` on were withdrawn: the transactions in them are pending or lost.
    pub(super) fn withdraw_sightings(&mut self, first: BlockHeight) {
        let from = sighting::Index::Height(first, i64::MIN);
        let to = sighting::Index::Height(BlockHeight(u64::MAX), i64::MAX);
        let mined: Vec<_> = self.sightings.range(from..=to).map(|row| row.id).collect();
        for id in mined {
            self.sightings.change(&id, |row| {
                row.block = None;
                row.block_hash = None;
            });
        }
    }

    /// Deletes what was seen before this time. Returns how many were deleted.
    pub(super) fn prune_sightings(&mut self, before: Timestamp) -> usize {
        let from = sighting::Index::Seen(Timestamp::EPOCH, i64::MIN);
        let to = sighting::Index::Seen(before, i64::MIN);
        let old: Vec<_> = self.sightings.range(from..to).map(|row| row.id).collect();
        for id in &old {
            self.sightings.remove(id);
        }
        old.len()
    }
}
