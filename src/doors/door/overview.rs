//! Whether anything is wrong, and what was measured in the last hours.

use agentry_protocol::timestamp::millis;
use agentry_protocol::{Amount, Timestamp};
use agentry_store::list::load::{self, DeadReason};
use agentry_store::{list, read};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::DoorError;
use super::Door;
use super::hosted::Loads;
use crate::ops::who;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Condition;
use crate::runtime::series::{self, Sample};

/// How many reasons of dead letters are listed.
const REASONS: u32 = 12;

/// The overview, which has no parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetOverview {}

/// Whether anything is wrong.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// The time at which this holds.
    #[schemars(with = "u64")]
    pub at: Timestamp,
    /// The version of the runtime.
    pub version: String,
    /// Whether a runtime is running.
    pub running: bool,
    /// Its condition.
    pub runtime: Option<Condition>,
    /// Why posting is stopped, if it is.
    pub halted: Option<String>,
    /// How many agents were ever hosted.
    pub agents: u64,
    /// How many of them are in trouble: they have dead letters, or are out of budget.
    pub in_trouble: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// The message that has waited longest.
    pub oldest: Option<OldestMessage>,
    /// Transactions that are in no block.
    pub unmined: u64,
    /// Transactions that wait for a budget.
    pub waiting_for_budget: u64,
    /// How many agents have such transactions.
    pub out_of_budget: u64,
    /// Dead letters and failed transactions.
    pub dead_letters: u64,
    /// Why there are dead letters, the most frequent reasons first. Of each queue, 20,000 are looked at.
    pub reasons: Vec<ReasonCount>,
    /// Effects that wait for an operator's approval.
    pub approvals: u64,
    /// Open tasks.
    pub tasks: u64,
    /// Behaviour runs that blocked a thread and were left behind, since the start of the runtime.
    pub hung: u64,
    /// Transactions that are in no block ten blocks after the node accepted them.
    pub overdue: u64,
    /// What all agents have spent today (UTC), in AIT.
    #[schemars(with = "u64")]
    pub spent: Amount,
    /// The tokens of models that their tasks have used today, with those that are reserved.
    pub tokens: u64,
}

/// The message that has waited longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OldestMessage {
    /// Its id, such as `inbox/12`.
    pub id: String,
    /// Its agent's name.
    pub agent: String,
    /// When it was first seen.
    #[schemars(with = "u64")]
    pub since: Timestamp,
    /// Why its last attempt failed.
    pub reason: Option<String>,
}

/// How many dead letters have a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasonCount {
    /// `inbox`, `outbox` or `events`.
    pub queue: String,
    /// The reason of the last failure.
    pub reason: Option<String>,
    /// How many there are.
    pub count: u64,
}

impl From<DeadReason> for ReasonCount {
    fn from(found: DeadReason) -> Self {
        Self {
            queue: found.queue.to_owned(),
            reason: found.reason,
            count: found.count,
        }
    }
}

/// The samples that are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetSeries {
    /// Only samples that ended after this time.
    pub after: Option<u64>,
}

/// What was measured in the last two hours. All lists have the same length, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SeriesPage {
    /// The time between two samples, in milliseconds.
    pub every_ms: u64,
    /// When each sample ended.
    pub at: Vec<u64>,
    /// Messages that arrived, per second.
    pub arrived: Vec<f64>,
    /// Messages that were handled, per second.
    pub handled: Vec<f64>,
    /// Messages that became dead letters, per second.
    pub dead_letters: Vec<f64>,
    /// Transactions that the node accepted, per second.
    pub accepted: Vec<f64>,
    /// Transactions seen in a block, per second.
    pub mined: Vec<f64>,
    /// Transactions that the node refused, per second.
    pub failed: Vec<f64>,
    /// The median duration of behaviour runs, in milliseconds; null if there were none.
    pub run_p50_ms: Vec<Option<f64>>,
    /// The duration that 95 % of them did not exceed.
    pub run_p95_ms: Vec<Option<f64>>,
    /// The median duration of POSTs to the node, in milliseconds; null if there were none.
    pub post_p50_ms: Vec<Option<f64>>,
    /// The duration that 95 % of them did not exceed.
    pub post_p95_ms: Vec<Option<f64>>,
    /// For how long the oldest waiting message has waited, in milliseconds.
    pub queue_age_ms: Vec<u64>,
    /// Transactions that are signed and in no block.
    pub open: Vec<i64>,
    /// What all agents have spent on the day (UTC), in AIT.
    pub spent: Vec<i64>,
}

impl SeriesPage {
    fn add(&mut self, sample: &Sample) {
        let Self {
            every_ms: _,
            at,
            arrived,
            handled,
            dead_letters,
            accepted,
            mined,
            failed,
            run_p50_ms,
            run_p95_ms,
            post_p50_ms,
            post_p95_ms,
            queue_age_ms,
            open,
            spent,
        } = self;
        at.push(sample.at.get());
        arrived.push(sample.arrived);
        handled.push(sample.handled);
        dead_letters.push(sample.dead_letters);
        accepted.push(sample.accepted);
        mined.push(sample.mined);
        failed.push(sample.failed);
        run_p50_ms.push(sample.run_p50);
        run_p95_ms.push(sample.run_p95);
        post_p50_ms.push(sample.post_p50);
        post_p95_ms.push(sample.post_p95);
        queue_age_ms.push(sample.queue_age);
        open.push(sample.open);
        spent.push(sample.spent);
    }
}

/// What the store of one shard knows.
#[derive(Default)]
struct OfStore {
    halted: Option<String>,
    oldest: Option<OldestMessage>,
    reasons: Vec<DeadReason>,
    approvals: u64,
}

impl Door {
    /// Whether anything is wrong: what an operator looks at first.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn overview(&self, _: GetOverview) -> Result<Overview, DoorError> {
        self.caller.check_oversee_all()?;
        let doors = self.in_shards(None).await?;
        let (running, runtime) = self.condition(&doors).await;
        let loads = try_join_all(doors.iter().map(Self::loads)).await?;
        let stores = doors.iter().zip(&loads);
        let stores = stores.map(|(door, loads)| door.of_store(Loads::clone(loads)));
        let stores = try_join_all(stores).await?;
        let agents = || loads.iter().flat_map(|loads| loads.iter());
        let sum = |of: fn(&load::AgentLoad) -> u64| agents().map(of).fold(0, u64::saturating_add);
        let count =
            |of: fn(&load::AgentLoad) -> bool| agents().filter(|load| of(load)).count() as u64;
        let mut reasons: Vec<ReasonCount> = Vec::new();
        for found in stores.iter().flat_map(|store| store.reasons.clone()) {
            let found = ReasonCount::from(found);
            let same =
                |one: &&mut ReasonCount| (&one.queue, &one.reason) == (&found.queue, &found.reason);
            match reasons.iter_mut().find(same) {
                Some(one) => one.count += found.count,
                None => reasons.push(found),
            }
        }
        reasons.sort_by_key(|one| std::cmp::Reverse(one.count));
        reasons.truncate(REASONS as usize);
        let latest = self.series.as_ref().map(series::Series::latest);
        let latest = latest.unwrap_or_default();
        Ok(Overview {
            at: Clock::default().now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running,
            runtime,
            halted: stores.iter().find_map(|store| store.halted.clone()),
            agents: agents().count() as u64,
            in_trouble: count(|load| load.dead + load.failed + load.held > 0),
            waiting: sum(|load| load.waiting),
            oldest: stores
                .iter()
                .filter_map(|store| store.oldest.clone())
                .min_by_key(|oldest| oldest.since),
            unmined: sum(|load| load.unmined),
            waiting_for_budget: sum(|load| load.held),
            out_of_budget: count(|load| load.held > 0),
            dead_letters: sum(|load| load.dead.saturating_add(load.failed)),
            reasons,
            approvals: stores.iter().map(|store| store.approvals).sum(),
            tasks: sum(|load| load.tasks),
            hung: latest.hung,
            overdue: u64::try_from(latest.overdue).unwrap_or(0),
            spent: Amount(sum(|load| load.spent.0)),
            tokens: sum(|load| load.tokens),
        })
    }

    async fn of_store(&self, loads: Loads) -> Result<OfStore, DoorError> {
        self.look(async move |db, _| {
            // Rows are numbered in the order in which they come.
            let oldest = loads.iter().filter_map(|load| load.oldest).min();
            let oldest = match oldest {
                Some(row) => load::waiting_at(db, row)?,
                None => None,
            };
            Ok(OfStore {
                halted: read::identity(db)?.halted,
                oldest: oldest.map(|oldest| OldestMessage {
                    id: oldest.id,
                    agent: oldest.agent,
                    since: oldest.since,
                    reason: oldest.reason,
                }),
                reasons: load::dead_reasons(db, REASONS)?,
                approvals: list::waiting_approvals(db)?,
            })
        })
        .await
    }

    /// What was measured in the last two hours, of all agents of this host.
    ///
    /// # Errors
    /// [`DoorError`].
    #[expect(clippy::unused_async, reason = "the table of operations awaits each")]
    pub async fn get_series(&self, request: GetSeries) -> Result<SeriesPage, DoorError> {
        self.caller.check_oversee_all()?;
        let mut page = SeriesPage {
            every_ms: millis(series::EVERY),
            ..SeriesPage::default()
        };
        let after = Timestamp::new(request.after.unwrap_or(0));
        for sample in self.series.iter().flat_map(|series| series.after(after)) {
            page.add(&sample);
        }
        Ok(page)
    }
}

/// The spending that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetSpending {
    /// Only that of this hosted agent: its name or its address. Needed if you may not use all agents.
    pub agent: Option<String>,
    /// How many days (UTC), with today; 30 if not given.
    #[schemars(range(min = 1, max = 366))]
    pub days: Option<u32>,
}

/// What agents have spent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SpendingPage {
    /// On each day on which something was spent, oldest first.
    pub days: Vec<SpendingDay>,
    /// Today, caused by senders of each standing: only of one agent.
    pub shares: Vec<SpendingShare>,
    /// The senders that have caused most of it today: only of one agent.
    pub senders: Vec<SpendingSender>,
    /// The budget of the agent, in AIT.
    #[schemars(with = "Option<u64>")]
    pub daily_budget: Option<Amount>,
}

/// What was spent on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpendingDay {
    /// When the day began.
    pub at: u64,
    /// In AIT.
    #[schemars(with = "u64")]
    pub spent: Amount,
    /// Tokens of models.
    pub tokens: u64,
}

/// The share of senders of a standing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpendingShare {
    /// `listed`, `stranger` or `unverified`.
    pub standing: String,
    /// What they have caused together, in AIT.
    #[schemars(with = "u64")]
    pub spent: Amount,
    /// What they may cause together in a day, in AIT.
    #[schemars(with = "Option<u64>")]
    pub limit: Option<Amount>,
}

/// What a sender has caused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpendingSender {
    /// Its address.
    pub sender: String,
    /// How well it is known.
    pub standing: String,
    /// In AIT.
    #[schemars(with = "u64")]
    pub spent: Amount,
    /// Tokens of models.
    pub tokens: u64,
}

/// How many senders are listed.
const SENDERS: u32 = 20;

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Door {
    /// What an agent, or all agents, have spent on the last days.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn get_spending(&self, request: GetSpending) -> Result<SpendingPage, DoorError> {
        use agentry_sdk::Standing::{Listed, Stranger, Unverified};
        self.caller.check_oversee()?;
        let days = match request.days.unwrap_or(30) {
            days @ 1..=366 => u64::from(days),
            _ => return Err(DoorError::invalid("`days` is 1 to 366")),
        };
        let doors = self.in_shards(request.agent.as_deref()).await?;
        let pages = doors.iter().map(|door| {
            let agent = request.agent.clone();
            door.look(async move |db, door| {
                let today = Clock::default().now().day();
                let since = today.saturating_sub(days.saturating_sub(1));
                let one = match (agent.as_deref(), door.operated(db, agent.as_deref())?) {
                    (_, Some(address)) => Some(door.agent(db, Some(&address))?),
                    (_, None) => None,
                };
                let by_day = load::spending_by_day(db, one.as_ref().map(|row| row.id.0), since)?;
                let by_day = by_day.into_iter().map(|(day, spent, tokens)| SpendingDay {
                    at: day.saturating_mul(DAY_MS),
                    spent,
                    tokens,
                });
                let mut page = SpendingPage {
                    days: by_day.collect(),
                    shares: Vec::new(),
                    senders: Vec::new(),
                    daily_budget: None,
                };
                if let Some(row) = one {
                    let spent = read::spent(db, row.id, today)?;
                    page.daily_budget = who::configured(&row.name, &door.config)
                        .map(|agent| agent.common.daily_budget);
                    page.shares = [Listed, Stranger, Unverified]
                        .into_iter()
                        .map(|standing| SpendingShare {
                            standing: standing.as_str().to_owned(),
                            spent: spent.of(standing),
                            limit: page.daily_budget.map(|all| standing.of_all(all)),
                        })
                        .collect();
                    let senders = read::spenders(db, row.id, today, SENDERS)?;
                    let senders = senders.into_iter().filter_map(|(cause, spent, tokens)| {
                        Some(SpendingSender {
                            sender: cause.sender()?.to_string(),
                            standing: cause.standing()?.as_str().to_owned(),
                            spent,
                            tokens,
                        })
                    });
                    page.senders = senders.collect();
                }
                Ok(page)
            })
        });
        let mut pages = try_join_all(pages).await?.into_iter();
        let Some(mut all) = pages.next() else {
            return Err(DoorError::not_found("hosted agent"));
        };
        for page in pages {
            for day in page.days {
                match all.days.iter_mut().find(|one| one.at == day.at) {
                    Some(one) => {
                        one.spent = one.spent.saturating_add(day.spent);
                        one.tokens = one.tokens.saturating_add(day.tokens);
                    }
                    None => all.days.push(day),
                }
            }
        }
        all.days.sort_by_key(|day| day.at);
        Ok(all)
    }
}
