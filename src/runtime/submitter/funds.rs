//! The accounts of wallets: whether they can pay for what is signed.

use std::rc::Rc;

use agentry_chain::Account;
use agentry_core::{AgentId, OutboxId};
use agentry_protocol::{Address, Amount};

use super::Work;
use super::state::{Open, Phase, State};

/// The most accounts that are queried at a block. Further wallets that wait for money have their
/// turn at later blocks.
const ACCOUNTS_A_BLOCK: usize = 64;

impl Work {
    /// Checks at each block whether wallets that could not pay can pay now: one after the other, as
    /// many as the node has time for, and at least one.
    pub(super) async fn look_for_funds(self: Rc<Self>) {
        let mut last_asked = None;
        loop {
            self.funds_are_due.notified().await;
            let mut wallets: Vec<AgentId> = {
                let state = self.state();
                let wallets = state.unfunded.iter().filter(|_| state.may_post());
                wallets.copied().collect()
            };
            wallets.sort_unstable();
            // Every wallet has its turn.
            let turn = wallets.partition_point(|agent| Some(*agent) <= last_asked);
            wallets.rotate_left(turn);
            wallets.truncate(ACCOUNTS_A_BLOCK);
            for agent in wallets {
                last_asked = Some(agent);
                if let Some(account) = self.ask_account(agent).await {
                    self.funded(agent, &account).await;
                }
                if self.settings.node.spare_time().is_zero() {
                    break;
                }
            }
        }
    }

    /// Posts the transactions of a wallet that its account can pay for.
    async fn funded(&self, agent: AgentId, account: &Account) {
        let payable = self.state().payable(agent, account);
        for id in payable {
            self.post_again(id).await;
        }
        self.may_sign.notify_one();
    }

    /// Posts the stored bytes of a transaction that the node certainly does not have.
    pub(super) async fn post_again(&self, id: OutboxId) {
        let body = self.shared.store.query(move |state| state.body(id)).await;
        let mut state = self.state();
        match body {
            Ok(Some(body)) => state.post(id, body),
            Ok(None) => {
                state.remove(id);
            }
            Err(error) => {
                tracing::error!(%error, "cannot read signed bytes");
                state.wait_for_look(id);
            }
        }
        self.may_post.notify_one();
    }

    /// Queries the node for the account of a wallet; none, if there is no valid answer in time.
    pub(super) async fn ask_account(&self, agent: AgentId) -> Option<Account> {
        let address = self.address(agent).await?;
        let limit = self.state().post_limit();
        match tokio::time::timeout(limit, self.settings.node.account(&address)).await {
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

    /// The address of a wallet, also of one that is no longer hosted: its signed transactions are
    /// still brought onto the chain.
    async fn address(&self, agent: AgentId) -> Option<Address> {
        let row = self
            .shared
            .store
            .query(move |state| state.agents().get(&agent));
        match row.await {
            Ok(row) => Some(row?.address.clone()),
            Err(error) => {
                tracing::error!(%error, "cannot read a wallet's address");
                None
            }
        }
    }
}

impl State {
    /// The transactions of a wallet that waited for this account's money and can be paid now.
    fn payable(&mut self, agent: AgentId, account: &Account) -> Vec<OutboxId> {
        let pending = i128::from(self.pending_cost(agent));
        let mut left = account.balance.saturating_sub(pending);
        let mut waiting: Vec<&mut Open> = self
            .open
            .values_mut()
            .filter(|open| open.row.agent == agent && open.phase == Phase::Unfunded)
            .collect();
        waiting.sort_unstable_by_key(|open| open.row.id);
        let mut payable = Vec::new();
        for open in waiting {
            let cost = i128::from(open.row.cost);
            if !account.exists || left < cost {
                return payable;
            }
            left -= cost;
            open.span
                .in_scope(|| tracing::info!("the wallet was funded; posting its transactions"));
            open.phase = Phase::Posting;
            payable.push(open.row.id);
        }
        // All signed transactions can be paid: the drafts queued behind them can be signed.
        self.unfunded.remove(&agent);
        self.queued();
        payable
    }
}

pub(super) fn can_pay(account: &Account, cost: Amount) -> bool {
    account.exists && account.balance >= i128::from(cost)
}
