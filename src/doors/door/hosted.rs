//! The hosted agents, searched and sorted by what is wrong with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentry_protocol::{Amount, Timestamp};
use agentry_store::list::load::{self, AgentLoad};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DoorError;
use super::{Door, bad_cursor, limit};
use crate::ops::who;
use crate::runtime::clock::Clock;

/// For how long the loads of all agents are used: several pages, callers and tabs ask for them.
const FRESH: Duration = Duration::from_secs(2);

/// A message that has waited for longer is trouble.
const LONG: Duration = Duration::from_secs(5 * 60);

/// The most characters that are searched for: an address has fewer.
const LONGEST_SEARCH: usize = 200;

/// The loads of all agents of a store.
pub(super) type Loads = Arc<[AgentLoad]>;

/// The loads of each store, as they were read last.
static READ: LazyLock<Mutex<HashMap<PathBuf, (Instant, Loads)>>> = LazyLock::new(Mutex::default);

/// The hosted agents to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListHosted {
    /// Only agents whose name or address contains this, whatever the case.
    #[schemars(length(max = 200))]
    pub search: Option<String>,
    /// Only agents in trouble.
    #[serde(default)]
    pub trouble: bool,
    /// Their order; by trouble if not given.
    #[serde(default)]
    pub sort: HostedOrder,
    /// The most agents of a page; 20 if not given.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    pub cursor: Option<String>,
}

/// An order of agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostedOrder {
    /// Those with the most dead letters first, then those out of budget, then those with the most
    /// waiting messages.
    #[default]
    Trouble,
    /// By name.
    Name,
    /// Those with the most waiting messages first.
    Waiting,
    /// Those with the most transactions in no block first.
    Unmined,
    /// Those that have spent most today first.
    Spent,
}

/// Hosted agents, in the wanted order.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HostedPage {
    /// The agents.
    pub agents: Vec<HostedEntry>,
    /// How many agents match.
    pub matching: u64,
    /// How many agents you may use.
    pub all: u64,
    /// The cursor of the next page; null if this is the last.
    pub next: Option<String>,
}

/// A hosted agent and its load.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HostedEntry {
    /// Its name.
    pub agent: String,
    /// Its address.
    pub address: String,
    /// Whether the configuration has it. If not, it was hosted before.
    pub configured: bool,
    /// What is wrong: `dead_letters`, `out_of_budget`, `waits_long`.
    pub trouble: Vec<String>,
    /// Messages that it has not handled yet.
    pub waiting: u64,
    /// When the oldest of them was first seen.
    #[schemars(with = "Option<u64>")]
    pub oldest_at: Option<Timestamp>,
    /// Transactions that are not in a block yet.
    pub unmined: u64,
    /// Of those: that wait for a budget.
    pub waiting_for_budget: u64,
    /// Messages and events that could not be handled, and transactions that could not be sent.
    pub dead_letters: u64,
    /// Open tasks.
    pub tasks: u64,
    /// What it has spent today (UTC), in AIT.
    #[schemars(with = "u64")]
    pub spent: Amount,
    /// What it may spend in a day, in AIT.
    #[schemars(with = "Option<u64>")]
    pub daily_budget: Option<Amount>,
    /// The tokens of models that its tasks have used today, with those that are reserved.
    pub tokens: u64,
    /// How many they may use in a day; null: any number.
    pub daily_tokens: Option<u64>,
}

/// The loads of a store, if they were read a moment ago.
fn fresh(store: &Path) -> Option<Loads> {
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, loads) = read.get(store)?;
    (at.elapsed() < FRESH).then(|| Arc::clone(loads))
}

impl Door {
    /// The loads of all agents of the store. They are at most some seconds old.
    pub(super) async fn loads(&self) -> Result<Loads, DoorError> {
        let path = self.config.store.path.clone();
        if let Some(loads) = fresh(&path) {
            return Ok(loads);
        }
        self.look(async move |db, _| {
            let loads: Loads = load::loads(db, Clock::default().now().day())?.into();
            let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(path, (Instant::now(), Arc::clone(&loads)));
            Ok(loads)
        })
        .await
    }

    /// Lists hosted agents with what they have to do, page by page: searched, and sorted by trouble.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list_hosted(&self, request: ListHosted) -> Result<HostedPage, DoorError> {
        self.caller.check_read()?;
        let limit = limit(request.limit)?;
        let length = |search: &String| search.chars().count();
        if request.search.as_ref().map_or(0, length) > LONGEST_SEARCH {
            let message = format!("`search` has at most {LONGEST_SEARCH} characters");
            return Err(DoorError::invalid(message));
        }
        let skipped = request.cursor.as_deref().map(str::parse::<usize>);
        let skipped = skipped.transpose().map_err(|_| bad_cursor())?.unwrap_or(0);
        let doors = self.in_shards(None).await?;
        let loads = try_join_all(doors.iter().map(Self::loads)).await?;
        let of_doors = (0..).zip(&loads);
        let each = of_doors.flat_map(|(door, loads)| loads.iter().map(move |load| (door, load)));
        let seen = each.filter(|(_, load)| self.caller.sees(&load.address));
        let mut all: u64 = 0;
        let search = request
            .search
            .as_deref()
            .unwrap_or("")
            .trim()
            .to_lowercase();
        let mut found: Vec<(usize, &AgentLoad)> = seen
            .inspect(|_| all += 1)
            .filter(|(_, load)| !request.trouble || load.dead + load.failed + load.held > 0)
            .filter(|(_, load)| {
                load.name.to_lowercase().contains(&search) || load.address.contains(&search)
            })
            .collect();
        found.sort_by(|(_, one), (_, other)| {
            let order = request.sort.key(other).cmp(&request.sort.key(one));
            order.then_with(|| (&one.name, &one.address).cmp(&(&other.name, &other.address)))
        });
        let matching = found.len();
        let page = found.into_iter().skip(skipped).take(limit);
        let mut of_door: Vec<Vec<(usize, AgentLoad)>> = vec![Vec::new(); doors.len()];
        for (place, (door, load)) in page.enumerate() {
            if let Some(of_door) = of_door.get_mut(door) {
                of_door.push((place, load.clone()));
            }
        }
        let entries = doors.iter().zip(of_door).map(|(door, loads)| {
            door.look(async move |db, door| {
                let entries = loads.into_iter().map(|(place, load)| {
                    let oldest = match load.oldest {
                        Some(row) => load::waiting_at(db, row)?.map(|oldest| oldest.since),
                        None => None,
                    };
                    Ok((place, door.hosted_entry(load, oldest)))
                });
                entries.collect::<Result<Vec<_>, DoorError>>()
            })
        });
        let mut entries = try_join_all(entries).await?.concat();
        entries.sort_by_key(|(place, _)| *place);
        let end = skipped.saturating_add(entries.len());
        Ok(HostedPage {
            agents: entries.into_iter().map(|(_, entry)| entry).collect(),
            matching: matching as u64,
            all,
            next: (end < matching).then(|| end.to_string()),
        })
    }

    fn hosted_entry(&self, load: AgentLoad, oldest_at: Option<Timestamp>) -> HostedEntry {
        let configured = who::configured(&load.name, &self.config);
        let dead_letters = load.dead.saturating_add(load.failed);
        let now = Clock::default().now();
        let waits_long = oldest_at.is_some_and(|at| now.since(at) > LONG);
        let trouble = [
            (dead_letters > 0, "dead_letters"),
            (load.held > 0, "out_of_budget"),
            (waits_long, "waits_long"),
        ];
        let trouble = trouble.into_iter().filter(|(is, _)| *is);
        HostedEntry {
            configured: configured.is_some(),
            trouble: trouble.map(|(_, word)| word.to_owned()).collect(),
            waiting: load.waiting,
            oldest_at,
            unmined: load.unmined,
            waiting_for_budget: load.held,
            dead_letters,
            tasks: load.tasks,
            spent: load.spent,
            daily_budget: configured.as_ref().map(|one| one.common.daily_budget),
            tokens: load.tokens,
            daily_tokens: configured.and_then(|one| one.common.daily_tokens),
            agent: load.name,
            address: load.address,
        }
    }
}

impl HostedOrder {
    /// What comes first has the largest key.
    const fn key(self, load: &AgentLoad) -> (u64, u64, u64) {
        match self {
            Self::Name => (0, 0, 0),
            Self::Trouble => (
                load.dead.saturating_add(load.failed),
                load.held,
                load.waiting,
            ),
            Self::Waiting => (load.waiting, 0, 0),
            Self::Unmined => (load.unmined, 0, 0),
            Self::Spent => (load.spent.0, load.tokens, 0),
        }
    }
}
