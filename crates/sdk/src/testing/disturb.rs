//! Faults: crashes, losses, duplicates, reorganisations; on request, or at random.

use std::time::Duration;

use agentry_core::Commit;
use agentry_core::commit::PostResult;
use agentry_protocol::TransactionHash;

use super::ledger::Transaction;
use super::{Party, Simulation};

/// The probability of each fault, in percent of its opportunities. No fault changes the final
/// result of a correct runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disturbances {
    /// The process crashes between a run and its commit, so the run is repeated.
    pub crash_before_commit: u8,
    /// The process crashes after a commit, and restarts.
    pub crash_after_commit: u8,
    /// The node loses all transactions that hosted agents have posted since the last block. They
    /// are posted again after the next block.
    pub loss: u8,
    /// A message appears on the chain again, in another transaction.
    pub repetition: u8,
    /// Up to three blocks are withdrawn and mined again unchanged, before or after their messages
    /// were handled.
    pub withdrawal: u8,
}

impl Disturbances {
    /// Gives every fault this probability, at most 90 percent, so that a history ends.
    pub fn all(percent: u8) -> Self {
        let percent = percent.min(90);
        Self {
            crash_before_commit: percent,
            crash_after_commit: percent,
            loss: percent,
            repetition: percent,
            withdrawal: percent,
        }
    }
}

impl Simulation {
    /// Sets the probabilities of faults from now on. The seed of the simulation determines them.
    pub fn disturb(&mut self, disturbances: Disturbances) {
        self.disturbances = disturbances;
    }

    /// Crashes the process between the agent's next run and its commit, and restarts it: the run
    /// is repeated.
    ///
    /// # Panics
    /// If the agent is not hosted.
    pub fn crash_before_commit(&mut self, agent: &Party) {
        let id = self.host_of(agent).id;
        for hosted in self.hosts.iter_mut().filter(|host| host.id == id) {
            hosted.crashes += 1;
        }
    }

    /// Restarts the process: every behaviour is made again from its settings, tasks that were
    /// running start again, and behaviours that [want to know](crate::Behaviour::starts) are told.
    pub fn restart(&mut self) {
        self.restart_behaviours();
        let plans = self.hosts.iter().flat_map(|host| host.plans(self.now));
        let plans = Commit::Plan {
            plans: plans.collect(),
            at: self.now,
        };
        self.must(&plans);
    }

    /// Restarts the process, without telling any behaviour.
    fn restart_behaviours(&mut self) {
        for hosted in &mut self.hosts {
            hosted.restart();
        }
        self.interrupt_tasks();
    }

    /// Stops the process for a time, and restarts it. No block is mined in that time, and what
    /// became due is late.
    pub fn down_for(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.restart();
    }

    /// Makes the node lose all transactions of hosted agents that are not in a block. The runtime
    /// posts the same bytes again after the next block. Returns the number of these messages.
    pub fn lose_pending(&mut self) -> usize {
        let lost = self.take_pending();
        let count = lost.len();
        self.lost.extend(lost);
        count
    }

    /// Makes the node refuse, permanently, all transactions of hosted agents that are not in a
    /// block. Returns the number of these messages.
    pub fn refuse_pending(&mut self, reason: &str) -> usize {
        let refused = self.take_pending();
        for transaction in &refused {
            if let Some(id) = self.own(transaction.hash).map(|row| row.id) {
                let result = PostResult::Failed {
                    reason: reason.to_owned(),
                };
                let at = self.now;
                self.must(&Commit::Post { id, result, at });
            }
        }
        refused.len()
    }

    /// Takes the transactions of hosted agents out of the node.
    fn take_pending(&mut self) -> Vec<Transaction> {
        let pool = std::mem::take(&mut self.ledger.pool);
        let (own, others) = pool
            .into_iter()
            .partition(|transaction| self.own(transaction.hash).is_some());
        self.ledger.pool = others;
        own
    }

    /// Posts a message again with another encoding: another transaction, the same message.
    ///
    /// # Panics
    /// If the transaction was not posted here.
    pub fn replay(&mut self, transaction: TransactionHash) -> TransactionHash {
        let mut copy = self.known(transaction);
        copy.hash = TransactionHash::of(self.repetition().as_bytes());
        self.post_transaction(copy)
    }

    /// Posts a message again with a new signature: the transaction and the digest differ, so only
    /// an id identifies it as the same message.
    ///
    /// # Panics
    /// If the transaction was not posted here.
    pub fn resend(&mut self, transaction: TransactionHash) -> TransactionHash {
        let nonce = self.repetition();
        self.resend_as(transaction, &nonce)
    }

    /// As [`resend`](Self::resend); `nonce` distinguishes the message from all others.
    pub(super) fn resend_as(
        &mut self,
        transaction: TransactionHash,
        nonce: &str,
    ) -> TransactionHash {
        let written = self.known(transaction).written.again(nonce);
        self.post_transaction(Transaction::new(written))
    }

    fn known(&self, hash: TransactionHash) -> Transaction {
        match self.find(hash) {
            Some(transaction) => transaction.clone(),
            None => panic!("no transaction {hash} was posted here"),
        }
    }

    pub(super) fn dies_before_commit(&mut self, host: usize) -> bool {
        let by_chance = self.random.chance(self.disturbances.crash_before_commit);
        let Some(hosted) = self.hosts.get_mut(host) else {
            return false;
        };
        if hosted.crashes > 0 {
            hosted.crashes -= 1;
        } else if !by_chance {
            return false;
        }
        self.restart_behaviours();
        true
    }

    pub(super) fn may_die_after_commit(&mut self) {
        if self.random.chance(self.disturbances.crash_after_commit) {
            self.restart_behaviours();
        }
    }

    pub(super) fn lose_at_random(&mut self) {
        if self.random.chance(self.disturbances.loss) {
            self.lose_pending();
        }
    }

    pub(super) fn withdraw_at_random(&mut self) {
        if self.random.chance(self.disturbances.withdrawal) {
            let blocks = 1 + self.random.below(3);
            self.rewrite(blocks);
        }
    }

    pub(super) fn repeat_at_random(&mut self) {
        if !self.random.chance(self.disturbances.repetition) {
            return;
        }
        let hashes: Vec<TransactionHash> = self
            .ledger
            .transactions()
            .map(|transaction| transaction.hash)
            .collect();
        let Some(hash) = self.random.pick(&hashes).copied() else {
            return;
        };
        let known = self.known(hash);
        // With a new signature, a message without a valid id would be another message.
        let has_id = known
            .written
            .stored
            .envelope()
            .header()
            .is_some_and(|header| header.id.is_some());
        let verified = !self.strangers.contains(&known.written.stored.from)
            && known
                .written
                .authenticity
                .is_none_or(|given| given == agentry_protocol::Authenticity::Verified);
        if has_id && verified && self.random.chance(50) {
            self.resend(hash);
        } else {
            self.replay(hash);
        }
    }
}
