//! One round of queries to the node about transactions that are signed and not mined.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::Account;
use agentry_core::absence::Look;
use agentry_core::commit::PostResult;
use agentry_core::{AgentId, Commit, OutboxId};
use agentry_protocol::{Address, BlockHeight, TransactionHash};
use agentry_store::read;
use tracing::Instrument;

use super::blocks::Blocks;
use super::overdue::rest_until;
use super::{Job, Open, Phase, Submitter};
use crate::config::NoncePolicy;

/// The most accounts that are queried at a block. Further wallets that wait for money have their
/// turn at later blocks.
const ACCOUNTS_A_BLOCK: usize = 64;

/// The pause after a round, as a multiple of how long the node worked for it: a mempool is fetched whole, and
/// a node with one thread serves nobody else meanwhile. The second value applies when the node's
/// share of time for our requests is used up.
const LOOK_RESTS: (u32, u32) = (10, 20);

/// The longest of these pauses.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The most transactions that are posted again after one round.
const REPOSTS_A_ROUND: usize = 512;

impl Submitter {
    /// Begins a round, unless one is under way or there is nothing to look for.
    pub(super) fn start_round(&mut self, ctx: &mut Context<Self>) {
        let Some(read_through) = self.read_through else {
            return;
        };
        let asked: Vec<(OutboxId, TransactionHash)> = self
            .open
            .iter()
            .filter(|(_, open)| matches!(open.phase, Phase::Posted(_)))
            .map(|(id, open)| (*id, open.hash))
            .collect();
        if asked.is_empty() && !self.round_running {
            return self.review(&HashSet::new(), ctx);
        }
        let may_post =
            self.halted.is_none() && !self.breaker.is_open() && self.shared.catch_up.is_done();
        if self.round_running || !may_post {
            return;
        }
        // The next block starts the next round.
        if self
            .look_rests_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        self.round_running = true;
        let asked_at = Instant::now();
        let began = self.posts_ended;
        let node = self.settings.node.clone();
        // A round that takes longer than this is worth less than the next one.
        let limit = self.interval.post_limit() * 2;
        let hashes = asked.iter().map(|(_, hash)| *hash).collect();
        let mempool = self.mempool.look(&node, &self.shared.workers, hashes);
        let look = async move {
            let look = async {
                let mempool = mempool.await?;
                let shown_at = Instant::now();
                let head = node.head().await;
                if let Err(error) = &head {
                    tracing::debug!(%error, "cannot query the head after the mempool");
                }
                Ok::<_, String>((mempool, head.ok().flatten(), shown_at))
            };
            let in_time = tokio::time::timeout(limit, look).await;
            in_time.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
        };
        ctx.spawn(look.into_actor(self).map(move |answer, submitter, ctx| {
            submitter.round_running = false;
            match answer {
                Ok((mempool, head, shown_at)) => {
                    submitter.round_trip = shown_at.elapsed();
                    submitter.rest_from_looking(shown_at - asked_at, 1);
                    submitter.mempool_read(None);
                    let is_pending = |one: &&(_, TransactionHash)| mempool.contains(&one.1);
                    let pending = asked.iter().filter(is_pending).map(|(id, _)| *id).collect();
                    if let Some(head) = head {
                        let look = Look {
                            mempool,
                            head: head.height,
                            read_through,
                        };
                        submitter.looked(&look, began, &asked, ctx);
                    }
                    submitter.review(&pending, ctx);
                }
                Err(failure) => {
                    submitter.rest_from_looking(asked_at.elapsed(), 1);
                    tracing::debug!(failure, "cannot read the node's mempool");
                    submitter.mempool_read(Some(failure));
                    submitter.review(&HashSet::new(), ctx);
                }
            }
            // Blocks came during the round: the transactions that it marked may be verifiably
            // absent by now.
            if submitter.read_through.is_some_and(|now| now > read_through) {
                submitter.start_round(ctx);
            }
        }));
    }

    /// Lets the node do other work after a round that took this long, in this many requests. A request
    /// that costs the node nothing, such as one for its head, takes a round trip, which is longer on a
    /// busy machine; that is not the node's work.
    fn rest_from_looking(&mut self, took: Duration, requests: u32) {
        let worked = took.saturating_sub(self.round_trip.saturating_mul(requests));
        let times = match self.settings.node.spare_time().is_zero() {
            true => LOOK_RESTS.1,
            false => LOOK_RESTS.0,
        };
        let rest = worked.saturating_mul(times).min(LONGEST_REST);
        self.look_rests_until = Some(Instant::now() + rest);
    }

    /// Processes a round that began when this many POSTs had ended; it `asked` about these
    /// transactions.
    fn looked(
        &mut self,
        look: &Look,
        began: u64,
        asked: &[(OutboxId, TransactionHash)],
        ctx: &mut Context<Self>,
    ) {
        let is_posted = |open: &Open| {
            matches!(open.phase, Phase::Posted(ended) if ended <= began)
                && !open.is_resting(look.read_through)
        };
        let posted: Vec<(OutboxId, TransactionHash)> = asked
            .iter()
            .filter(|(id, _)| self.open.get(id).is_some_and(is_posted))
            .copied()
            .collect();
        let mut absent = self.marks.look(look, posted);
        absent.sort_unstable();
        absent.truncate(REPOSTS_A_ROUND);
        if !absent.is_empty() {
            self.look_into_blocks(absent, look.head.max(look.read_through), ctx);
        }
    }

    /// Looks in the blocks themselves for transactions that neither the mempool nor the source has
    /// shown.
    fn look_into_blocks(&mut self, ids: Vec<OutboxId>, head: BlockHeight, ctx: &mut Context<Self>) {
        let mut since = head;
        for id in &ids {
            if let Some(open) = self.open.get_mut(id) {
                open.phase = Phase::Doubted;
                since = since.min(open.since);
            }
        }
        let (node, store) = (self.settings.node.clone(), self.shared.store.clone());
        let known = std::mem::take(&mut self.known_blocks);
        let limit = self.interval.post_limit() * 2;
        let asked_at = Instant::now();
        let look = async move {
            let gaps = match store.read(move |db| read::gaps(db, since)).await {
                Ok(gaps) => gaps,
                Err(error) => {
                    tracing::error!(%error, "cannot read the gaps");
                    return None;
                }
            };
            let deadline = tokio::time::Instant::now() + limit;
            Some(Blocks::read(&node, (since, head), gaps, known, deadline).await)
        };
        ctx.spawn(look.into_actor(self).map(move |blocks, submitter, ctx| {
            let requests = blocks.as_ref().map_or(1, Blocks::requests);
            submitter.rest_from_looking(asked_at.elapsed(), requests);
            for id in ids {
                let Some(open) = submitter.open.get_mut(&id) else {
                    continue;
                };
                // Its block was withdrawn meanwhile, so it is followed again.
                if open.phase != Phase::Doubted {
                    continue;
                }
                open.is_doubtful = true;
                let Some(blocks) = &blocks else {
                    submitter.wait_for_look(id);
                    continue;
                };
                if let Some((height, block_hash)) = blocks.place(open.hash) {
                    let result = PostResult::Standing { height, block_hash };
                    submitter.save(id, result, ctx);
                    submitter.mined(id);
                } else if blocks.lack(open.hash, open.since) {
                    open.since = head;
                    open.is_doubtful = false;
                    submitter.lost(id, ctx);
                } else {
                    submitter.wait_for_look(id);
                }
            }
            submitter.known_blocks = blocks.map(Blocks::into_known).unwrap_or_default();
        }));
    }

    /// A transaction is absent: the node dropped it. It is posted again if its wallet can pay.
    fn lost(&mut self, id: OutboxId, ctx: &mut Context<Self>) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.phase = Phase::Posting;
        open.span.in_scope(
            || tracing::warn!(transaction.hash = %open.hash, "the node dropped the transaction"),
        );
        self.shared.metrics.lost();
        let agent = open.agent;
        let Some(address) = self.address(agent) else {
            return;
        };
        let ask = self.ask_account(address);
        ctx.spawn(
            ask.into_actor(self)
                .map(move |account, submitter, ctx| match account {
                    Some(account) => submitter.judge_lost(id, &account, ctx),
                    None => submitter.wait_for_look(id),
                }),
        );
    }

    /// Follows a transaction again as one that the node may have: its proof of absence starts over.
    pub(super) fn wait_for_look(&mut self, id: OutboxId) {
        if let Some(open) = self.open.get_mut(&id) {
            open.phase = Phase::Posted(self.posts_ended);
        }
    }

    fn judge_lost(&mut self, id: OutboxId, account: &Account, ctx: &mut Context<Self>) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        if self.settings.policy == NoncePolicy::Sequential {
            let spent = i64::try_from(account.nonce).unwrap_or(i64::MAX) > open.nonce;
            match (spent, open.stale_since, self.read_through) {
                (true, None, through) => {
                    open.stale_since = through;
                    return self.wait_for_look(id);
                }
                (true, Some(since), Some(through))
                    if through.0 >= since.0.saturating_add(self.settings.final_depth) =>
                {
                    return self.sign_again(id, account.nonce, ctx);
                }
                (true, Some(_), _) => return self.wait_for_look(id),
                (false, ..) => open.stale_since = None,
            }
        }
        if can_pay(account, open.cost) {
            open.reposts = open.reposts.saturating_add(1);
            let through = self.read_through.unwrap_or(open.since);
            open.rest_until = rest_until(through, open.reposts);
            self.post_again(id, ctx);
        } else {
            let reason = unfunded(account, open.cost);
            open.span.in_scope(|| {
                tracing::warn!(
                    reason,
                    "the wallet cannot pay; the transaction waits until it is funded"
                );
            });
            open.phase = Phase::Unfunded;
            self.unfunded.insert(open.agent);
            self.save(id, PostResult::Waiting { reason }, ctx);
        }
    }

    /// The nonce is spent by another transaction, in a block deep enough to be certain: the draft
    /// is signed again.
    fn sign_again(&mut self, id: OutboxId, counter: u64, ctx: &mut Context<Self>) {
        let Some(open) = self.remove(id) else { return };
        let reason = format!(
            "nonce {} was spent by another transaction (the account's counter is {counter}); the draft is signed again",
            open.nonce
        );
        open.span.in_scope(|| {
            tracing::warn!(
                reason,
                "the signed transaction is discarded, and its draft signed again"
            );
        });
        let store = self.shared.store.clone();
        let commit = async move { store.commit(Commit::Requeue { id, reason }).await };
        ctx.spawn(commit.into_actor(self).map(move |done, submitter, ctx| {
            match (done, open.charge) {
                (Ok(receipt), Some(charge)) if receipt.changed > 0 => submitter.refund(&charge),
                (Ok(_), _) => {}
                (Err(error), _) => tracing::error!(%error, "cannot store that a nonce was spent"),
            }
            submitter.sign_queue.note();
            submitter.start_signing(ctx);
        }));
    }

    /// Posts the stored bytes of a transaction that the node certainly does not have.
    fn post_again(&mut self, id: OutboxId, ctx: &mut Context<Self>) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.phase = Phase::Posting;
        let span = open.span.clone();
        let store = self.shared.store.clone();
        let load = async move { store.read(move |db| read::body(db, id)).await }.instrument(span);
        ctx.spawn(
            load.into_actor(self)
                .map(move |body, submitter, ctx| match body {
                    Ok(Some(body)) => {
                        submitter.jobs.push_back(Job {
                            id,
                            body: body.into(),
                        });
                        submitter.pump(ctx);
                    }
                    Ok(None) => {
                        submitter.remove(id);
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot read signed bytes");
                        submitter.wait_for_look(id);
                    }
                }),
        );
    }

    /// Checks whether wallets that could not pay can pay now: one after the other, as many as the
    /// node has time for, and at least one.
    pub(super) fn look_for_funds(&mut self, ctx: &mut Context<Self>) {
        if self.halted.is_some() || self.breaker.is_open() || self.looking_for_funds {
            return;
        }
        let mut wallets: Vec<AgentId> = self.unfunded.iter().copied().collect();
        wallets.sort_unstable();
        // Every wallet has its turn.
        let turn = wallets.partition_point(|agent| Some(*agent) <= self.funds_asked_of);
        wallets.rotate_left(turn);
        let asks: Vec<_> = wallets
            .into_iter()
            .take(ACCOUNTS_A_BLOCK)
            .filter_map(|agent| Some((agent, self.ask_account(self.address(agent)?))))
            .collect();
        if asks.is_empty() {
            return;
        }
        self.looking_for_funds = true;
        let node = self.settings.node.clone();
        let look = async move {
            let mut answers = Vec::new();
            for (agent, ask) in asks {
                if !answers.is_empty() && node.spare_time().is_zero() {
                    break;
                }
                answers.push((agent, ask.await));
            }
            answers
        };
        ctx.spawn(look.into_actor(self).map(|answers, submitter, ctx| {
            submitter.looking_for_funds = false;
            submitter.funds_asked_of = answers.last().map(|(agent, _)| *agent);
            for (agent, account) in answers {
                if let Some(account) = account {
                    submitter.funded(agent, &account, ctx);
                }
            }
        }));
    }

    fn funded(&mut self, agent: AgentId, account: &Account, ctx: &mut Context<Self>) {
        let mut left = account
            .balance
            .saturating_sub(i128::from(self.pending_cost(agent)));
        let mut waiting: Vec<(OutboxId, u64)> = self
            .open
            .iter()
            .filter(|(_, open)| open.agent == agent && open.phase == Phase::Unfunded)
            .map(|(id, open)| (*id, open.cost))
            .collect();
        waiting.sort_unstable();
        for (id, cost) in waiting {
            if !account.exists || left < i128::from(cost) {
                return;
            }
            left -= i128::from(cost);
            if let Some(open) = self.open.get(&id) {
                open.span
                    .in_scope(|| tracing::info!("the wallet was funded; posting its transactions"));
            }
            self.post_again(id, ctx);
        }
        // All signed transactions can be paid: the drafts queued behind them can be signed.
        self.unfunded.remove(&agent);
        self.sign_queue.note();
        self.start_signing(ctx);
    }

    /// The cost of a wallet's transactions that the node has, or may have.
    pub(super) fn pending_cost(&self, agent: AgentId) -> u64 {
        self.open
            .values()
            .filter(|open| {
                open.agent == agent && matches!(open.phase, Phase::Posted(_) | Phase::Doubted)
            })
            .fold(0, |sum, open| sum.saturating_add(open.cost))
    }

    /// Queries the node for an account; none, if there is no valid answer in time.
    pub(super) fn ask_account(
        &self,
        address: Address,
    ) -> impl Future<Output = Option<Account>> + use<> {
        let (node, limit) = (self.settings.node.clone(), self.interval.post_limit());
        async move {
            match tokio::time::timeout(limit, node.account(&address)).await {
                Ok(Ok(account)) => Some(account),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "cannot query an account");
                    None
                }
                Err(_) => {
                    tracing::debug!(?limit, "cannot query an account: no answer in time");
                    None
                }
            }
        }
    }

    pub(super) fn address(&self, agent: AgentId) -> Option<Address> {
        let hosted = self.registry.address_of(agent);
        hosted.or_else(|| self.removed.get(&agent).cloned())
    }
}

pub(super) fn can_pay(account: &Account, cost: u64) -> bool {
    account.exists && account.balance >= i128::from(cost)
}

fn unfunded(account: &Account, cost: u64) -> String {
    if account.exists {
        format!(
            "waits for money: the wallet has {} AIT and needs {cost}",
            account.balance
        )
    } else {
        format!("waits for money: the chain does not know the wallet, which needs {cost} AIT")
    }
}
