//! Rounds of queries to the node about transactions that are signed and not mined.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentry_chain::{Account, NodeClient};
use agentry_core::absence::Look;
use agentry_core::commit::PostResult;
use agentry_core::rows::Charge;
use agentry_core::{AgentId, Commit, CommitResult, OutboxId};
use agentry_protocol::{Amount, BlockHeight, TransactionHash};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::Work;
use super::blocks::{Blocks, Known};
use super::funds::can_pay;
use super::overdue::{Delays, rest_until};
use super::state::{Open, Phase, State};

/// The pause after a round, as a multiple of how long the node worked for it: a mempool is fetched whole, and
/// a node with one thread serves nobody else meanwhile. The second value applies when the node's
/// share of time for our requests is used up.
const LOOK_RESTS: (u32, u32) = (10, 20);

/// The longest of these pauses.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The most transactions that are posted again after one round.
const REPOSTS_A_ROUND: usize = 512;

/// What one round leaves to the next.
#[derive(Debug, Default)]
struct Rounds {
    delays: Delays,
    /// What the next look into the blocks need not ask for.
    known_blocks: Known,
    /// The node is not queried again before then.
    rest_until: Option<Instant>,
    /// How long the node takes to answer what costs it nothing.
    round_trip: Duration,
}

impl Rounds {
    /// Lets the node do other work after it was busy this long with this many requests. A request
    /// that costs the node nothing, such as one for its head, takes a round trip, which is longer
    /// on a busy machine; that is not the node's work.
    fn rest(&mut self, node: &NodeClient, took: Duration, requests: u32) {
        let worked = took.saturating_sub(self.round_trip.saturating_mul(requests));
        let times = match node.spare_time().is_zero() {
            true => LOOK_RESTS.1,
            false => LOOK_RESTS.0,
        };
        let rest = worked.saturating_mul(times).min(LONGEST_REST);
        self.rest_until = Some(Instant::now() + rest);
    }
}

/// What becomes of a transaction that the node dropped.
#[derive(Debug)]
enum Lost {
    /// Its bytes are posted again.
    Repost,
    /// Its wallet cannot pay: it waits until it is funded.
    Unfunded { reason: String },
    /// Its nonce is spent by another transaction, in a block deep enough to be certain: the draft is
    /// signed again.
    Spent {
        reason: String,
        charge: Option<Charge>,
    },
    /// It was mined or withdrawn meanwhile, or more blocks must show that its nonce is spent.
    Followed,
}

impl Work {
    /// Makes a round at each block.
    pub(super) async fn look_for_lost(self: Rc<Self>) {
        let mut rounds = Rounds::default();
        loop {
            self.round_is_due.notified().await;
            self.round(&mut rounds).await;
        }
    }

    /// Asks the node about the transactions that it may have, reports those that are overdue, and
    /// has those posted again that are absent.
    async fn round(&self, rounds: &mut Rounds) {
        let Some(read_through) = self.state().read_through else {
            return;
        };
        let began = self.state().posts_ended;
        let asked = self.state().posted();
        if asked.is_empty() {
            return self.review(&mut rounds.delays, &HashSet::new()).await;
        }
        let may_post = self.state().may_post() && self.shared.catch_up.is_done();
        // The next block starts the next round.
        let is_resting = rounds
            .rest_until
            .is_some_and(|until| Instant::now() < until);
        if !may_post || is_resting {
            return;
        }
        let (mempool, head) = self.look(rounds, &asked).await;
        let pending = asked.iter().filter(|(_, hash)| mempool.contains(hash));
        let pending = pending.map(|(id, _)| *id).collect();
        let mut absent = Vec::new();
        if let Some(head) = head {
            let look = Look {
                mempool,
                head,
                read_through,
            };
            absent = self.state().absent(&look, began, &asked);
        }
        self.review(&mut rounds.delays, &pending).await;
        if absent.is_empty() {
            return;
        }
        let head = head.unwrap_or(read_through).max(read_through);
        let lost = self.look_into_blocks(rounds, absent, head).await;
        join_all(lost.into_iter().map(|(agent, ids)| self.lost(agent, ids))).await;
    }

    /// Asks the node for its mempool, and then for its head; there is no head if one of them cannot
    /// be read.
    async fn look(
        &self,
        rounds: &mut Rounds,
        asked: &[(OutboxId, TransactionHash)],
    ) -> (HashSet<TransactionHash>, Option<BlockHeight>) {
        let (node, metrics) = (&self.settings.node, &self.shared.metrics);
        let began = Instant::now();
        let look = async {
            let hashes = asked.iter().map(|(_, hash)| *hash).collect();
            let mempool = self.mempool.pending(hashes).await?;
            let shown_at = Instant::now();
            let head = node.head().await;
            if let Err(error) = &head {
                tracing::debug!(%error, "cannot query the head after the mempool");
            }
            Ok((mempool, head.ok().flatten(), shown_at))
        };
        // A round that takes longer than this is worth less than the next one.
        let limit = self.state().post_limit() * 2;
        let in_time = timeout(limit, look).await;
        match in_time.unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))) {
            Ok((mempool, head, shown_at)) => {
                rounds.round_trip = shown_at.elapsed();
                rounds.rest(node, shown_at - began, 1);
                rounds.delays.mempool_read(None, node, metrics);
                (mempool, head.map(|head| head.height))
            }
            Err(failure) => {
                rounds.rest(node, began.elapsed(), 1);
                tracing::debug!(failure, "cannot read the node's mempool");
                rounds.delays.mempool_read(Some(failure), node, metrics);
                (HashSet::new(), None)
            }
        }
    }

    /// Looks in the blocks themselves for transactions that neither the mempool nor the source has
    /// shown. Returns those that no block contains, by wallet.
    async fn look_into_blocks(
        &self,
        rounds: &mut Rounds,
        ids: Vec<OutboxId>,
        head: BlockHeight,
    ) -> BTreeMap<AgentId, Vec<OutboxId>> {
        let began = Instant::now();
        let (node, limit) = (&self.settings.node, self.state().post_limit() * 2);
        let since = self.state().least_since(&ids).min(head);
        let gaps = self
            .shared
            .store
            .query(move |state| state.gaps_above(since));
        let mut lost: BTreeMap<AgentId, Vec<OutboxId>> = BTreeMap::new();
        let gaps = match gaps.await {
            Ok(gaps) => gaps,
            Err(error) => {
                tracing::error!(%error, "cannot read the gaps");
                ids.into_iter()
                    .for_each(|id| self.state().wait_for_look(id));
                return lost;
            }
        };
        let known = std::mem::take(&mut rounds.known_blocks);
        let deadline = tokio::time::Instant::now() + limit;
        let blocks = Blocks::read(node, (since, head), gaps, known, deadline).await;
        rounds.rest(node, began.elapsed(), blocks.requests());
        let mut standing = Vec::new();
        for id in ids {
            let mut state = self.state();
            let Some(open) = state.doubted(id) else {
                continue;
            };
            if let Some((height, block_hash)) = blocks.place(open.row.hash) {
                standing.push((id, PostResult::Standing { height, block_hash }));
                state.mined(id);
            } else if blocks.lack(open.row.hash, open.row.since) {
                open.row.since = head;
                open.is_doubtful = false;
                open.span.in_scope(|| {
                    tracing::warn!(transaction.hash = %open.row.hash, "the node dropped the transaction");
                });
                self.shared.metrics.lost();
                lost.entry(open.row.agent).or_default().push(id);
            } else {
                open.is_doubtful = true;
                state.wait_for_look(id);
            }
        }
        rounds.known_blocks = blocks.into_known();
        for (id, result) in standing {
            self.save(id, result, None).await;
        }
        lost
    }

    /// The node dropped these transactions of a wallet, whose account shows what becomes of them.
    async fn lost(&self, agent: AgentId, ids: Vec<OutboxId>) {
        let account = self.ask_account(agent).await;
        let final_depth = self.settings.final_depth;
        for id in ids {
            let lost = match &account {
                Some(account) => self.state().judge_lost(id, account, final_depth),
                None => Lost::Followed,
            };
            match lost {
                Lost::Repost => self.post_again(id).await,
                Lost::Unfunded { reason } => {
                    self.save(id, PostResult::Waiting { reason }, None).await;
                }
                Lost::Spent { reason, charge } => self.sign_again(id, reason, charge).await,
                Lost::Followed => self.state().wait_for_look(id),
            }
        }
    }

    async fn sign_again(&self, id: OutboxId, reason: String, charge: Option<Charge>) {
        let commit = Commit::Requeue { id, reason };
        let changes = self.shared.store.commit(commit).await;
        let mut state = self.state();
        match (changes.map(|changes| changes.result), charge) {
            (Ok(CommitResult::Applied), Some(charge)) => state.money.refund(&charge),
            (Ok(_), _) => {}
            (Err(error), _) => tracing::error!(%error, "cannot store that a nonce was spent"),
        }
        state.queued();
        self.may_sign.notify_one();
    }
}

impl State {
    /// The transactions that the node has, or may have.
    fn posted(&self) -> Vec<(OutboxId, TransactionHash)> {
        let is_posted = |open: &&Open| matches!(open.phase, Phase::Posted(_));
        let posted = self.open.values().filter(is_posted);
        posted.map(|open| (open.row.id, open.row.hash)).collect()
    }

    /// Processes a look that began when this many POSTs had ended, and `asked` about these
    /// transactions. Returns those that are absent; the blocks have to be examined for them.
    pub(super) fn absent(
        &mut self,
        look: &Look,
        began: u64,
        asked: &[(OutboxId, TransactionHash)],
    ) -> Vec<OutboxId> {
        let mut absent = Vec::new();
        for (id, hash) in asked {
            if let Some(open) = self.open.get_mut(id)
                && matches!(open.phase, Phase::Posted(ended) if ended <= began)
                && !open.is_resting(look.read_through)
                && open.mark.look(look, hash)
            {
                absent.push(*id);
            }
        }
        absent.sort_unstable();
        absent.truncate(REPOSTS_A_ROUND);
        for id in &absent {
            if let Some(open) = self.open.get_mut(id) {
                open.phase = Phase::Doubted;
            }
        }
        absent
    }

    /// The last block that certainly contains none of these transactions.
    fn least_since(&self, ids: &[OutboxId]) -> BlockHeight {
        let open = ids.iter().filter_map(|id| self.open.get(id));
        open.map(|open| open.row.since)
            .min()
            .unwrap_or(self.since())
    }

    /// A transaction that is in doubt. It is not any more if its proof of absence started over, as
    /// blocks were withdrawn.
    pub(super) fn doubted(&mut self, id: OutboxId) -> Option<&mut Open> {
        let open = self.open.get_mut(&id);
        open.filter(|open| open.phase == Phase::Doubted)
    }

    /// Decides about a transaction that the node dropped.
    fn judge_lost(&mut self, id: OutboxId, account: &Account, final_depth: u64) -> Lost {
        let through = self.since();
        let known = self
            .doubted(id)
            .map(|open| (open.row.agent, open.row.nonce));
        let Some((agent, nonce)) = known else {
            return Lost::Followed;
        };
        let counter = self.counter(agent, account);
        let is_spent = self.nonces.is_overtaken(nonce, counter);
        // The node has named a lower one: it serves a chain that began again.
        let is_ahead = self.is_told_below(agent, nonce);
        let Some(open) = self.doubted(id) else {
            return Lost::Followed;
        };
        match (is_spent || is_ahead, open.stale_since) {
            (true, Some(since)) if through.0 >= since.0.saturating_add(final_depth) => {
                let why = match is_ahead {
                    false => "was spent by another transaction",
                    true => "is not reached",
                };
                let reason = format!(
                    "nonce {nonce} {why} (the account's counter is {counter}); the draft is signed again"
                );
                open.span.in_scope(|| {
                    tracing::warn!(
                        reason,
                        "the signed transaction is discarded, and its draft signed again"
                    );
                });
                let charge = self.remove(id).and_then(|open| open.row.charge);
                return Lost::Spent { reason, charge };
            }
            (true, _) => {
                open.stale_since.get_or_insert(through);
                return Lost::Followed;
            }
            (false, _) => open.stale_since = None,
        }
        if can_pay(account, open.row.cost) {
            open.reposts = open.reposts.saturating_add(1);
            open.rest_until = rest_until(through, open.reposts);
            open.phase = Phase::Posting;
            Lost::Repost
        } else {
            let reason = unfunded(account, open.row.cost);
            open.span.in_scope(|| {
                tracing::warn!(
                    reason,
                    "the wallet cannot pay; the transaction waits until it is funded"
                );
            });
            self.wait_for_funds(id);
            Lost::Unfunded { reason }
        }
    }
}

fn unfunded(account: &Account, cost: Amount) -> String {
    if account.exists {
        format!(
            "waits for money: the wallet has {} and needs {cost}",
            account.balance
        )
    } else {
        format!("waits for money: the chain does not know the wallet, which needs {cost}")
    }
}
