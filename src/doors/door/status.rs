//! The agents that the caller may use, and the runtime.

use agentry_core::rows::AgentRow;
use agentry_protocol::Amount;
use agentry_store::{Reader, read};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Scope;
use super::super::error::DoorError;
use super::{Door, limit};
use crate::ops::queues::spending;
use crate::ops::who;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Condition;

/// The agents whose status is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetStatus {
    /// Only this hosted agent: its name or its address.
    pub agent: Option<String>,
    /// The most agents of a page; 20 if not given. A page may have fewer although there are more.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    pub cursor: Option<String>,
}

/// The status of hosted agents, and of the runtime.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StatusPage {
    /// Whether a runtime is running.
    pub running: bool,
    /// Its condition.
    pub runtime: Option<Condition>,
    /// The agents that you may use, by address.
    pub agents: Vec<AgentStatus>,
    /// The cursor of the next page; null if this is the last.
    pub next: Option<String>,
}

/// The status of a hosted agent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentStatus {
    /// Its name.
    pub agent: String,
    /// Its address.
    pub address: String,
    /// Whether the configuration has it. If not, it was hosted before.
    pub configured: bool,
    /// Messages that it has not handled yet. Numbers of rows are exact up to 100,000.
    pub waiting: u64,
    /// Transactions that are not in a block yet.
    pub unmined: u64,
    /// Messages and events that could not be handled.
    pub dead_letters: u64,
    /// Tasks that it has accepted and not started.
    pub tasks_submitted: u64,
    /// Tasks that it runs.
    pub tasks_working: u64,
    /// What it has spent today (UTC), in AIT.
    #[schemars(with = "u64")]
    pub spent: Amount,
    /// What it may spend in a day, in AIT.
    #[schemars(with = "Option<u64>")]
    pub daily_budget: Option<Amount>,
    /// The tokens of models that its tasks have used or reserved today.
    pub tokens: u64,
    /// How many they may use in a day; null: any number.
    pub daily_tokens: Option<u64>,
}

impl Door {
    /// Reports the status of the agents that the caller may use, and of the runtime.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn agent_status(&self, request: GetStatus) -> Result<StatusPage, DoorError> {
        self.caller.check_read()?;
        let limit = limit(request.limit)?;
        let doors = self.in_shards(request.agent.as_deref()).await?;
        let (running, runtime) = self.condition(&doors).await;
        let pages = doors.iter().map(|door| door.agents(&request, limit));
        let pages = try_join_all(pages).await?;
        let mut more = pages.iter().any(|(_, more)| *more);
        let rows = pages.iter().flat_map(|(rows, _)| rows);
        let mut listed: Vec<_> = rows.map(|row| row.address.clone()).collect();
        listed.sort();
        more |= listed.len() > limit;
        listed.truncate(limit);
        let last = listed.last().cloned();
        let of_doors = pages.into_iter().zip(&doors).map(|((mut rows, _), door)| {
            rows.retain(|row| last.as_ref().is_some_and(|last| row.address <= *last));
            door.statuses(rows)
        });
        let mut agents = try_join_all(of_doors).await?.concat();
        agents.sort_by(|one, other| one.address.cmp(&other.address));
        Ok(StatusPage {
            running,
            runtime,
            agents,
            next: last.filter(|_| more).map(|last| last.to_string()),
        })
    }

    async fn statuses(&self, rows: Vec<AgentRow>) -> Result<Vec<AgentStatus>, DoorError> {
        self.look(async move |db, door| {
            let statuses = rows.into_iter().map(|row| door.status_of(db, row));
            statuses.collect()
        })
        .await
    }

    /// The agents of the store that are meant and that the caller may use, by address; and whether there
    /// are more.
    async fn agents(
        &self,
        request: &GetStatus,
        limit: usize,
    ) -> Result<(Vec<AgentRow>, bool), DoorError> {
        let GetStatus { agent, cursor, .. } = request.clone();
        self.look(async move |db, door| {
            if let Some(agent) = agent {
                return Ok((vec![door.agent(db, Some(&agent))?], false));
            }
            let after = cursor.as_deref().unwrap_or("");
            // One more than the limit shows whether there are others.
            let most = limit.saturating_add(1);
            let mut found = door.agents_after(db, after, most)?;
            let more = found.len() > limit;
            found.truncate(limit);
            Ok((found, more))
        })
        .await
    }

    fn agents_after(
        &self,
        db: &Reader,
        after: &str,
        most: usize,
    ) -> Result<Vec<AgentRow>, DoorError> {
        let Scope::Only(addresses) = &self.caller.agents else {
            return Ok(read::agents_after(db, after, most as u64)?);
        };
        let mut found = Vec::new();
        for address in addresses.iter().filter(|address| address.as_str() > after) {
            found.extend(read::agent(db, address)?);
            if found.len() == most {
                break;
            }
        }
        Ok(found)
    }

    fn status_of(&self, db: &Reader, row: AgentRow) -> Result<AgentStatus, DoorError> {
        let (queue, tasks) = read::standing(db, row.id)?;
        let day = Clock::default().now().day();
        Ok(AgentStatus {
            configured: who::configured(&row.name, &self.config).is_some(),
            waiting: queue.inbox,
            unmined: queue.outbox,
            dead_letters: queue.dead,
            tasks_submitted: tasks.submitted,
            tasks_working: tasks.working,
            spent: read::spent(db, row.id, day)?.all,
            daily_budget: spending::daily_budget(&row.name, &self.config),
            tokens: read::day_tokens(db, row.id, day)?,
            daily_tokens: spending::daily_tokens(&row.name, &self.config),
            address: row.address.to_string(),
            agent: row.name,
        })
    }
}
