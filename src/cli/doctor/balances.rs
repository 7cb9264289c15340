//! Checks whether wallets can pay for what their agents send.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_chain::{Account, NodeClient};
use agentry_protocol::Dialect;
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::PATIENCE;
use super::node::{Node, Nodes};
use super::report::Check;
use super::wallets::Purse;

/// A wallet that cannot pay for this many messages is reported as a warning.
const MESSAGES: u64 = 10;

/// How many accounts are requested at a time.
const AT_ONCE: usize = 16;

/// Time limit for all accounts together.
const ALL: Duration = PATIENCE;

/// Asks the node for the balances of wallets: one line per agent, and one per fleet.
pub(super) async fn look(nodes: &Nodes, purses: &[Purse], dialect: Dialect) -> Vec<Check> {
    let budgets = purses.iter().filter_map(budget);
    // A follower that only imports blocks has no accounts.
    let follows = |node: &Node| node.seen().is_some_and(|seen| seen.follows);
    let producing = nodes.producing();
    let node = match follows(producing) && !follows(&nodes.rpc) {
        true => &nodes.rpc,
        false => producing,
    };
    let Some(client) = node.client.as_ref().filter(|_| node.seen.is_ok()) else {
        let away = (!purses.is_empty())
            .then(|| Check::skipped("balances", format!("the {} does not answer", node.name)));
        return away.into_iter().chain(budgets).collect();
    };
    let accounts = ask(client, purses).await;
    let known = accounts.iter().flatten().any(|account| account.exists);
    if follows(node) && !known {
        let why = format!("the {} follows another node and has no accounts", node.name);
        let skipped = (!purses.is_empty()).then(|| Check::skipped("balances", why));
        return skipped.into_iter().chain(budgets).collect();
    }
    let mut checks = Vec::new();
    let mut fleets: BTreeMap<&str, Vec<(&Purse, Option<Account>)>> = BTreeMap::new();
    for (purse, account) in purses.iter().zip(accounts) {
        match &purse.fleet {
            Some(fleet) => fleets.entry(fleet).or_default().push((purse, account)),
            None => checks.push(one(purse, account.as_ref(), dialect)),
        }
    }
    checks.extend(fleets.iter().map(|(name, purses)| fleet(name, purses)));
    checks.extend(budgets);
    checks
}

/// The accounts of the purses, in the same order; `None` if the node did not answer in time.
async fn ask(client: &NodeClient, purses: &[Purse]) -> Vec<Option<Account>> {
    let deadline = Instant::now() + ALL;
    let asked = purses.iter().map(|purse| async move {
        let account = timeout_at(deadline, client.account(&purse.address)).await;
        account.ok()?.ok()
    });
    stream::iter(asked).buffered(AT_ONCE).collect().await
}

/// Checks whether an account can pay for some messages.
fn suffices(purse: &Purse, account: &Account) -> bool {
    account.balance >= i128::from(purse.fee) * i128::from(MESSAGES)
}

fn one(purse: &Purse, account: Option<&Account>, dialect: Dialect) -> Check {
    let name = format!("balance of {}", purse.agent);
    let fix = format!("transfer some to {}", purse.address);
    let fee = purse.fee;
    match account {
        None => Check::skipped(name, "the node did not report it"),
        Some(account) if !account.exists => {
            Check::warning(name, "the chain has never seen its address", fix)
        }
        Some(account) if !suffices(purse, account) => Check::warning(
            name,
            format!(
                "{} do not pay for {MESSAGES} messages of {fee} each",
                dialect.amount(account.balance)
            ),
            fix,
        ),
        Some(account) => Check::well(
            name,
            format!("{}, at {fee} a message", dialect.amount(account.balance)),
        ),
    }
}

fn fleet(name: &str, purses: &[(&Purse, Option<Account>)]) -> Check {
    let check = format!("balance of {name}");
    let known: Vec<(&Purse, &Account)> = purses
        .iter()
        .filter_map(|(purse, account)| Some((*purse, account.as_ref()?)))
        .collect();
    let poor: Vec<&Purse> = known
        .iter()
        .filter(|(purse, account)| !account.exists || !suffices(purse, account))
        .map(|(purse, _)| *purse)
        .collect();
    match poor.first() {
        None if known.is_empty() => Check::skipped(check, "the node did not report it"),
        None => Check::well(
            check,
            format!(
                "each of the {} wallets checked can pay for {MESSAGES} messages",
                known.len()
            ),
        ),
        Some(first) => Check::warning(
            check,
            format!(
                "of {} wallets checked, {} cannot pay for {MESSAGES} messages, such as {}",
                known.len(),
                poor.len(),
                first.agent
            ),
            format!("transfer some to them, for example to {}", first.address),
        ),
    }
}

/// Warns about a budget that does not pay for one message.
fn budget(purse: &Purse) -> Option<Check> {
    (purse.acts && purse.daily_budget < purse.fee).then(|| {
        Check::warning(
            format!("budget of {}", purse.agent),
            format!(
                "{} a day do not pay for one message of {}",
                purse.daily_budget, purse.fee
            ),
            "raise its `daily_budget`, then `agentry reload`",
        )
    })
}
