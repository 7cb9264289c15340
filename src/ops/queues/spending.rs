//! What agents have spent today, of which budget.

use agentry_core::rows::Spent;
use agentry_protocol::Amount;
use agentry_sdk::Standing;
use agentry_store::{Reader, StoreError, read};
use serde::Serialize;

use super::super::who;
use crate::config::Config;
use crate::runtime::clock::Clock;

/// The budget of an agent and the shares of it that senders can spend, in AIT; unknown if the agent
/// is not in agents.toml any more.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BudgetShares {
    /// The whole budget.
    pub daily: Option<Amount>,
    /// What is left of it today.
    pub left: Option<Amount>,
    /// The share of all listed senders together.
    pub listed: Option<Amount>,
    /// The share of one known sender.
    pub one_known: Option<Amount>,
    /// The share of one listed sender.
    pub one_listed: Option<Amount>,
    /// The share of one stranger.
    pub one_stranger: Option<Amount>,
    /// The share of all strangers together.
    pub strangers: Option<Amount>,
    /// The share of all unverified senders together.
    pub unverified: Option<Amount>,
}

/// The daily budget of the agent with this name; unknown if it is not in agents.toml any more.
pub fn daily_budget(agent: &str, config: &Config) -> Option<Amount> {
    who::configured(agent, config).map(|agent| agent.common.daily_budget)
}

/// The daily tokens of the agent with this name; `None` if they are not limited.
pub fn daily_tokens(agent: &str, config: &Config) -> Option<u64> {
    who::configured(agent, config)?.common.daily_tokens
}

/// The budget of the agent with this name, which has spent this much today.
pub fn shares(agent: &str, spent: Spent, config: &Config) -> BudgetShares {
    let Some(all) = daily_budget(agent, config) else {
        return BudgetShares::default();
    };
    let together = |standing: Standing| Some(standing.of_all(all));
    let one = |standing: Standing| Some(standing.of_one(all));
    BudgetShares {
        daily: Some(all),
        left: Some(all.saturating_sub(spent.all)),
        listed: together(Standing::Listed),
        one_known: one(Standing::Known),
        one_listed: one(Standing::Listed),
        one_stranger: one(Standing::Stranger),
        strangers: together(Standing::Stranger),
        unverified: together(Standing::Unverified),
    }
}

/// What an agent has spent today.
#[derive(Clone, Debug, Serialize)]
pub struct Spending {
    /// Its name.
    pub agent: String,
    /// Its budget.
    pub budget: BudgetShares,
    /// What it has spent.
    pub spent: Spent,
    /// How many tokens of models its tasks may use in a day; any number if it is not limited.
    pub daily_tokens: Option<u64>,
    /// Those that they have used, with those that running tasks have reserved.
    pub tokens: u64,
}

/// Today's spending of the agent with this name or address; `None` if the store knows none.
pub(super) fn spending(
    db: &Reader,
    agent: &str,
    config: &Config,
) -> Result<Option<Spending>, StoreError> {
    let mut known = read::agents(db)?.into_iter();
    let Some(row) = known.find(|row| row.name == agent || row.address.as_str() == agent) else {
        return Ok(None);
    };
    let day = Clock::default().now().day();
    let spent = read::spent(db, row.id, day)?;
    Ok(Some(Spending {
        budget: shares(&row.name, spent, config),
        daily_tokens: daily_tokens(&row.name, config),
        tokens: read::day_tokens(db, row.id, day)?,
        agent: row.name,
        spent,
    }))
}
