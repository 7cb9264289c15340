//! Reports transactions that the node has accepted and does not mine, whatever the cause.
//!
//! A transaction is *overdue* a fixed number of blocks after it was accepted. Its row gets the
//! reason, the metrics count it, and the log reports each reason once, until no transaction has
//! that reason any more.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use agentry_chain::NodeClient;
use agentry_core::{Commit, OutboxId};
use agentry_protocol::BlockHeight;

use super::Work;
use super::state::State;
use crate::runtime::metrics::Metrics;

/// The number of blocks after which an accepted transaction is overdue. Normally the next block
/// contains it; a few blocks may be full.
pub(super) const AFTER: u64 = 10;

/// The most rows that get a reason in one pass. The others have their turn at the next block.
const ROWS_A_LOOK: usize = 1_000;

/// The number of consecutive failures to read the mempool before the log reports it.
const FAILURES: u32 = 3;

/// Why a transaction is in no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Delay {
    /// The mempool cannot be read, so it is unknown whether the node still has the transaction.
    Unreadable,
    /// The node has the transaction, and mines others or nothing.
    Pending,
    /// Neither the mempool nor the blocks certainly have it: the node does not show its blocks
    /// whole.
    Doubtful,
    /// The node has dropped it repeatedly.
    Dropped,
    /// It is neither pending nor in the blocks read so far; more blocks have to be read first.
    Unproven,
}

/// What the log was told about overdue transactions.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// The causes that the log has reported.
    told: BTreeSet<Delay>,
    /// Why the latest attempts to read the mempool failed, and how many they were.
    failures: (u32, String),
    told_unreadable: bool,
}

impl Delays {
    /// Why the mempool cannot be read, unless only one call failed.
    fn unreadable(&self) -> Option<&str> {
        (self.failures.0 >= FAILURES).then_some(self.failures.1.as_str())
    }

    /// The mempool was read, or could not be read.
    pub(super) fn mempool_read(
        &mut self,
        failure: Option<String>,
        node: &NodeClient,
        metrics: &Metrics,
    ) {
        let Some(failure) = failure else {
            self.failures = (0, String::new());
            if std::mem::take(&mut self.told_unreadable) {
                tracing::info!(
                    node.url = node.url(),
                    "the node's mempool can be read again"
                );
                metrics.mempool_unreadable(false);
            }
            return;
        };
        self.failures = (self.failures.0.saturating_add(1), failure);
        if let Some(reason) = self.unreadable()
            && !self.told_unreadable
        {
            tracing::warn!(
                node.url = node.url(),
                reason,
                "the node's mempool cannot be read: transactions that the node drops are not posted again until it can be (if the node runs on this machine, set [chain] db to avoid this)"
            );
            metrics.mempool_unreadable(true);
            self.told_unreadable = true;
        }
    }

    /// Logs each cause that is new, with the number of transactions that are overdue for it.
    fn tell(&mut self, counts: BTreeMap<Delay, usize>) {
        for (delay, count) in &counts {
            if !self.told.contains(delay) {
                let reason = self.reason(*delay);
                tracing::warn!(
                    transactions = count,
                    after.blocks = AFTER,
                    reason,
                    "transactions are overdue (agentry queue list outbox --state accepted)"
                );
            }
        }
        self.told = counts.into_keys().collect();
    }

    /// The reason as shown to operators.
    fn reason(&self, delay: Delay) -> String {
        match delay {
            Delay::Unreadable => format!(
                "accepted, and in no block yet; whether the node still has it cannot be known, since its mempool cannot be read ({}), so it is not posted again",
                self.failures.1
            ),
            Delay::Pending => "accepted, and in no block yet: the node has it pending; it mines transactions with higher fees first and never mines one over 1 MB; a node that follows another mines nothing".to_owned(),
            Delay::Doubtful => "accepted, and in no block yet; whether a block contains it cannot be known, since the node does not show its blocks whole, so it is not posted again".to_owned(),
            Delay::Unproven => "accepted, and neither pending nor in the blocks that were read so far; it is posted again once it is verified to be in none".to_owned(),
            Delay::Dropped => "the node accepts it and drops it repeatedly; it is posted again at growing intervals".to_owned(),
        }
    }
}

impl Work {
    /// Finds overdue transactions and stores the reason in their rows. `pending` are those that the
    /// node's mempool shows.
    pub(super) async fn review(&self, delays: &mut Delays, pending: &HashSet<OutboxId>) {
        let news = self.state().review(delays, pending, &self.shared.metrics);
        for (delay, ids) in news {
            let reason = delays.reason(delay);
            let explain = Commit::Explain { ids, reason };
            if let Err(error) = self.shared.store.commit(explain).await {
                tracing::error!(%error, "cannot store why transactions are overdue");
            }
        }
    }
}

impl State {
    /// Finds overdue transactions, and reports the reasons. Returns the rows whose reason is new.
    fn review(
        &mut self,
        delays: &mut Delays,
        pending: &HashSet<OutboxId>,
        metrics: &Metrics,
    ) -> BTreeMap<Delay, Vec<OutboxId>> {
        let mut news: BTreeMap<Delay, Vec<OutboxId>> = BTreeMap::new();
        let Some(through) = self.read_through else {
            return news;
        };
        let unreadable = delays.unreadable().is_some();
        let mut counts: BTreeMap<Delay, usize> = BTreeMap::new();
        let mut left = ROWS_A_LOOK;
        for (id, open) in &mut self.open {
            if !open.is_with_node() {
                continue;
            }
            let accepted = open.accepted_through.get_or_insert(through);
            if through.0 < accepted.0.saturating_add(AFTER) {
                continue;
            }
            let delay = if unreadable {
                Delay::Unreadable
            } else if pending.contains(id) {
                Delay::Pending
            } else if open.is_resting(through) {
                Delay::Dropped
            } else if open.is_doubtful {
                Delay::Doubtful
            } else {
                Delay::Unproven
            };
            *counts.entry(delay).or_default() += 1;
            if open.delay != Some(delay) && left > 0 {
                open.delay = Some(delay);
                left -= 1;
                news.entry(delay).or_default().push(*id);
            }
        }
        metrics.transactions_overdue(counts.values().sum());
        delays.tell(counts);
        news
    }
}

/// The number of blocks after which a transaction that was dropped this often is posted again: the
/// first times immediately, then after pauses that double, up to about a minute of the real node's
/// blocks.
pub(super) fn rest(reposts: u32) -> u64 {
    match reposts {
        0..=2 => 0,
        more => 1 << (more - 2).min(5),
    }
}

/// The block before which a transaction that was posted again this often is not posted once
/// more.
pub(super) fn rest_until(through: BlockHeight, reposts: u32) -> BlockHeight {
    BlockHeight(through.0.saturating_add(rest(reposts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeatedly_dropped_transaction_waits_longer_each_time() {
        let rests: Vec<u64> = (0..10).map(rest).collect();
        assert_eq!(rests, [0, 0, 0, 2, 4, 8, 16, 32, 32, 32]);
        assert_eq!(rest_until(BlockHeight(7), 3), BlockHeight(9));
    }
}
