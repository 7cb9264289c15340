//! The submitter: it signs, posts, and looks for what the node has lost.

use std::collections::{HashMap, HashSet};

use agentry_core::absence::Look;
use agentry_core::commit::PostResult;
use agentry_core::nonce::Sequential;
use agentry_core::rows::{OutboxState, Prepared};
use agentry_core::state::row::Outgoing;
use agentry_core::{AgentId, Commit, OutboxId};
use agentry_protocol::{
    Address, BlockHash, BlockHeight, Json, Limits, MessageDigest, Nonce, SignedTransaction,
    TransactionHash,
};

use super::{BUDGET, Broken, Checked, Clocks, Host, Phase};
use crate::chain::{Chain, FINAL_DEPTH, Transaction};
use crate::peers::{self, FEE};

/// How a POST ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// The node takes it, and the answer is lost.
    Taken,
    /// The node does not get it, and nobody knows.
    Dropped,
    /// No connection.
    Refused,
    /// The node refuses it for good.
    Never,
}

impl Host {
    /// Signs a message with the next nonce.
    pub(super) fn prepared(
        &mut self,
        of: AgentId,
        (to, payload): (&Address, &Json),
        counter: Option<Nonce>,
        clocks: Clocks,
    ) -> Prepared {
        let now = self.now(clocks);
        let nonce = self.nonces.next(of, counter.unwrap_or(Nonce::at(now)));
        let signed = peers::sign(self.wallet(of), to, nonce, payload.clone());
        Prepared {
            nonce,
            hash: signed.hash(),
            digest: signed.digest(),
            body: signed.body(),
            since: self.read_through(),
            day: now.day(),
        }
    }

    /// Signs drafts that wait for a nonce, and holds those for which there is no budget. Returns
    /// whether there were any.
    pub(crate) fn sign(
        &mut self,
        at_most: usize,
        chain: &Chain,
        clocks: Clocks,
    ) -> Result<bool, Broken> {
        if !self.acts() {
            return Ok(false);
        }
        let rows = self.state.outbox().iter();
        let queued: Vec<Outgoing> = rows
            .filter(|row| row.state == OutboxState::Queued && !row.unapproved)
            .cloned()
            .collect();
        let left = self.agents().map(|agent| {
            let left = BUDGET.saturating_sub(self.spent(agent, clocks)) / FEE;
            (agent, left)
        });
        let mut left: HashMap<_, _> = left.collect();
        let (mut prepared, mut held, mut release) = (Vec::new(), Vec::new(), Vec::new());
        // With the account's counter, a wallet has one transaction in flight.
        let rows = self.state.outbox().iter();
        let in_flight = rows.filter(|row| self.nonces.follows_counter() && row.is_open());
        let mut in_flight: HashSet<AgentId> = in_flight.map(|row| row.agent).collect();
        for row in queued {
            let is_next = !in_flight.contains(&row.agent);
            let left = left.entry(row.agent).or_default();
            match (*left > 0, row.held) {
                (true, true) => {
                    release.push(row.id);
                    *left -= 1;
                }
                (true, false) if prepared.len() < at_most && is_next => {
                    *left -= 1;
                    let message = (&row.recipient, &row.payload);
                    let counter = self.nonces.follows_counter().then(|| {
                        in_flight.insert(row.agent);
                        let from = peers::address(self.wallet(row.agent));
                        let counter = chain.counter(from, chain.head());
                        let last = self.state.last_mined_nonce(row.agent, counter);
                        Sequential::floor(counter, last)
                    });
                    let signed = self.prepared(row.agent, message, counter, clocks);
                    prepared.push((row.id, signed));
                }
                (false, false) => held.push((row.id, "no budget".to_owned())),
                (true, false) | (false, true) => {}
            }
        }
        let at = self.now(clocks);
        let mut changed = false;
        if !held.is_empty() {
            self.commit(Commit::Hold { held }, clocks)?;
        }
        if !release.is_empty() {
            changed = true;
            self.commit(Commit::Release { ids: release }, clocks)?;
        }
        if !prepared.is_empty() {
            changed = true;
            self.commit(Commit::Prepare { prepared, at }, clocks)?;
        }
        Ok(changed)
    }

    /// The transactions that may be posted.
    fn ready(&self) -> Vec<OutboxId> {
        let ready = self.open.iter().filter(|(_, phase)| match phase {
            Phase::Ready(after) => *after <= self.durable,
            Phase::Posted => false,
        });
        ready.map(|(id, _)| *id).collect()
    }

    /// The signed bytes of a row, as they are posted.
    pub(crate) fn bytes(&self, id: OutboxId) -> Option<Transaction> {
        let row = self.state.outbox().get(&id)?;
        let body = &row.signed.as_ref()?.body;
        let signed = SignedTransaction::from_body(body.as_bytes(), Limits::default()).unwrap();
        Some(Transaction::own(&signed))
    }

    /// Posts one of the transactions that are ready, for the first time. Returns its row.
    pub(crate) fn next_post(&self, which: u8) -> Option<OutboxId> {
        if !self.acts() || !self.may_post {
            return None;
        }
        let ready = self.ready();
        ready.get(usize::from(which) % ready.len().max(1)).copied()
    }

    /// A POST has ended.
    pub(crate) fn posted(&mut self, id: OutboxId, answer: Answer, clocks: Clocks) -> Checked {
        let result = match answer {
            Answer::Accepted | Answer::Taken | Answer::Dropped => {
                self.open.insert(id, Phase::Posted);
                PostResult::Accepted
            }
            Answer::Refused => return Ok(()),
            Answer::Never => {
                self.forget(id);
                PostResult::Failed {
                    reason: "never".to_owned(),
                }
            }
        };
        let at = self.now(clocks);
        self.commit(Commit::Post { id, result, at }, clocks)?;
        Ok(())
    }

    /// A look at the node: its mempool, and the last block that had been read before the node was
    /// asked for it. Returns the transactions that the node has lost.
    pub(crate) fn look(
        &mut self,
        mempool: HashSet<TransactionHash>,
        read_through: BlockHeight,
        chain: &Chain,
        clocks: Clocks,
    ) -> Result<Vec<OutboxId>, Broken> {
        if !self.acts() {
            return Ok(Vec::new());
        }
        let look = Look {
            mempool,
            head: chain.head(),
            read_through,
        };
        let posted = self.open.iter().filter_map(|(id, phase)| {
            let row = self.state.outbox().get(id)?;
            (*phase == Phase::Posted).then_some((*id, row.signed.as_ref()?.hash))
        });
        let posted: Vec<_> = posted.collect();
        let mut lost = Vec::new();
        for (id, hash) in posted {
            if !self.marks.entry(id).or_default().look(&look, &hash) {
                continue;
            }
            match self.standing(id, chain) {
                Some(height) => {
                    let result = PostResult::Standing {
                        height,
                        block_hash: BlockHash::from_bytes([0; 32]),
                    };
                    self.forget(id);
                    let at = self.now(clocks);
                    self.commit(Commit::Post { id, result, at }, clocks)?;
                }
                None if self.is_overtaken(id, chain) => {
                    // It is paid for a second time.
                    self.overdrawn = true;
                    self.forget(id);
                    let reason = "another has its nonce".to_owned();
                    self.commit(Commit::Requeue { id, reason }, clocks)?;
                }
                None => lost.push(id),
            }
        }
        Ok(lost)
    }

    /// Whether another transaction took the nonce of one, in a block that is final.
    fn is_overtaken(&self, id: OutboxId, chain: &Chain) -> bool {
        let through = chain.head().saturating_sub(FINAL_DEPTH);
        self.state.outbox().get(&id).is_some_and(|row| {
            let counter = chain.counter(peers::address(self.wallet(row.agent)), through);
            let nonce = row.signed.as_ref().map(|signed| signed.nonce);
            nonce.is_some_and(|nonce| self.nonces.is_overtaken(nonce, counter))
        })
    }

    /// The block that holds a transaction, of those that may hold it.
    fn standing(&self, id: OutboxId, chain: &Chain) -> Option<BlockHeight> {
        let row = self.state.outbox().get(&id)?;
        let digest: MessageDigest = row.signed.as_ref()?.digest;
        let since = row.since.unwrap_or(BlockHeight(0));
        chain.place(digest).filter(|height| *height > since)
    }
}
