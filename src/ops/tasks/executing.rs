//! Tasks that are executed here.

use agentry_core::AgentId;
use agentry_protocol::command::JobId;
use agentry_sdk::{AnyBehaviour, Task, Tokens};
use agentry_store::list::pick;
use agentry_store::list::task::{self, ExecutingFilter, ExecutingItem};
use agentry_store::{Reader, StoreError, read};
use serde_json::{Value, json};

use super::super::who;
use super::job::JobState;
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::tasks::tokens_of;

/// A task that is executed here.
#[derive(Clone, Debug)]
pub struct ExecutingTask {
    /// Its row.
    pub row: i64,
    /// What the store has of it.
    pub item: ExecutingItem,
    /// Why it cannot be executed: its agent or its behaviour was removed from agents.toml, an operator
    /// has not approved it, or the agent's tokens of the day are used up.
    pub waits_for: Option<String>,
}

impl ExecutingTask {
    fn new(item: ExecutingItem, db: &Reader, config: &Config) -> Result<Self, StoreError> {
        Ok(Self {
            row: row(&item.id).unwrap_or_default(),
            waits_for: waits_for(&item, db, config)?,
            item,
        })
    }

    /// Why its result is incomplete, as one word.
    pub fn incomplete(&self) -> Option<&str> {
        let code = self.item.error_code.as_deref();
        code.filter(|_| self.item.state == JobState::Completed.as_str())
    }

    /// The code of its error, or of its last attempt's, and the explanation for the operator.
    pub fn failure(&self) -> Option<(&str, &str)> {
        let code = self.item.error_code.as_deref()?;
        let sentence = self.item.error.as_deref().unwrap_or_default();
        self.incomplete().is_none().then_some((code, sentence))
    }

    /// The task as JSON.
    ///
    /// # Errors
    /// None in practice: all of it can be written.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let mut value = serde_json::to_value(&self.item)?;
        value["input"] = serde_json::from_str(&self.item.input).unwrap_or(Value::Null);
        value["incomplete"] = json!(self.incomplete());
        value["waits_for"] = json!(self.waits_for);
        Ok(value)
    }
}

/// Tasks that are executed here, newest first.
#[derive(Clone, Debug)]
pub struct ExecutingList {
    /// The tasks.
    pub tasks: Vec<ExecutingTask>,
    /// Whether there are more than the limit.
    pub more: bool,
}

/// Lists the newest tasks, up to a limit; only those in a state, if one is given.
///
/// # Errors
/// The store's.
pub fn list(
    db: &Reader,
    state: Option<JobState>,
    limit: u64,
    config: &Config,
) -> Result<ExecutingList, StoreError> {
    let filter = ExecutingFilter {
        states: state
            .map(|state| state.as_str().to_owned())
            .into_iter()
            .collect(),
        // One more than the limit shows whether there are others.
        limit: limit.saturating_add(1),
        ..ExecutingFilter::default()
    };
    let mut items = task::executing(db, &filter)?;
    let enough = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > enough;
    items.truncate(enough);
    let tasks = items
        .into_iter()
        .map(|item| ExecutingTask::new(item, db, config));
    Ok(ExecutingList {
        tasks: tasks.collect::<Result<_, _>>()?,
        more,
    })
}

/// How many tasks are read at a time for a page: each may be as large as a transaction can be.
const FEW: u64 = 16;

/// A page ends after this many bytes of inputs, or after the one task that exceeds them.
const PAGE_BYTES: usize = 1 << 20;

/// The newest tasks that match a filter, up to its limit, and the row before which the next page
/// begins if there may be more. A page may be shorter than the limit.
///
/// # Errors
/// The store's.
pub fn page(
    db: &Reader,
    filter: &ExecutingFilter,
    config: &Config,
) -> Result<(Vec<ExecutingTask>, Option<i64>), StoreError> {
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut filter = ExecutingFilter {
        limit: FEW,
        ..filter.clone()
    };
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    loop {
        let items = task::executing(db, &filter)?;
        if items.is_empty() {
            return Ok((tasks, None));
        }
        for item in items {
            let task = ExecutingTask::new(item, db, config)?;
            bytes += task.item.input.len();
            filter.before = Some(task.row);
            tasks.push(task);
            if tasks.len() >= limit || bytes >= PAGE_BYTES {
                return Ok((tasks, filter.before));
            }
        }
    }
}

/// The newest tasks that have not ended, newest first: those before a row, at most so many, of the agent
/// with this name or address, or of all; and before which row the others begin.
///
/// # Errors
/// The store's.
pub fn open(
    db: &Reader,
    agent: Option<&str>,
    (before, limit): (Option<i64>, usize),
    config: &Config,
) -> Result<(Vec<ExecutingTask>, Option<i64>), StoreError> {
    // One more than the limit shows whether there are others.
    let most = (limit as u64).saturating_add(1);
    let mut rows = pick::open_tasks(db, agent, before, most)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let mut tasks = Vec::new();
    for row in &rows {
        let filter = ExecutingFilter {
            row: Some(*row),
            limit: 1,
            ..ExecutingFilter::default()
        };
        for item in task::executing(db, &filter)? {
            tasks.push(ExecutingTask::new(item, db, config)?);
        }
    }
    Ok((tasks, rows.last().copied().filter(|_| more)))
}

/// Finds a task by its row (`task/7`), or by the id or the hash under which its submitter knows it;
/// `None` if there is none.
///
/// # Errors
/// The store's.
pub fn find(db: &Reader, name: &str, config: &Config) -> Result<Option<ExecutingTask>, StoreError> {
    let filter = match row(name) {
        Some(row) => ExecutingFilter {
            row: Some(row),
            limit: 1,
            ..ExecutingFilter::default()
        },
        None if name.parse::<JobId>().is_ok() => ExecutingFilter {
            asked_by: Some(name.to_ascii_lowercase()),
            limit: 1,
            ..ExecutingFilter::default()
        },
        None => return Ok(None),
    };
    let item = task::executing(db, &filter)?.pop();
    item.map(|item| ExecutingTask::new(item, db, config))
        .transpose()
}

/// The row number in a name such as `task/7`.
fn row(name: &str) -> Option<i64> {
    name.strip_prefix("task/")?.parse().ok()
}

/// What an operator does about a task that waits for approval.
const UNAPPROVED: &str = "`agentry approvals list` prints what waits";

fn waits_for(
    item: &ExecutingItem,
    db: &Reader,
    config: &Config,
) -> Result<Option<String>, StoreError> {
    if !matches!(
        item.state.as_str(),
        "submitted" | "working" | "input-required"
    ) {
        return Ok(None);
    }
    let (agent, behaviour, file) = (&item.agent, &item.behaviour, &config.file);
    let Some(known) = who::configured(agent, config) else {
        return Ok(Some(format!("agent {agent} was removed from {file}")));
    };
    match known.behaviours.iter().find(|one| one.name == *behaviour) {
        None => Ok(Some(format!(
            "behaviour {behaviour} of agent {agent} was removed from {file}"
        ))),
        Some(_) if item.unapproved && item.state == "submitted" => {
            Ok(Some(format!("an operator's approval: {UNAPPROVED}")))
        }
        Some(one) => tokens(item, &*one.behaviour, known.common.daily_tokens, db),
    }
}

/// Why a task waits for its agent's tokens of another day.
fn tokens(
    item: &ExecutingItem,
    behaviour: &dyn AnyBehaviour,
    daily: Option<u64>,
    db: &Reader,
) -> Result<Option<String>, StoreError> {
    let now = Clock::default().local();
    let may_start = item.state == "submitted" && item.due_at <= now;
    let Some(daily) = daily.filter(|_| may_start) else {
        return Ok(None);
    };
    let task = Task {
        key: item.key.clone(),
        kind: item.kind.clone(),
        input: serde_json::from_str(&item.input).unwrap_or_default(),
        deadline: item.deadline,
        agent: item.agent.clone(),
        submitter: None,
        attempt: 1,
        idempotency_key: String::new(),
        answers: Vec::new(),
        tokens: Tokens::default(),
    };
    let Some(needs) = tokens_of(behaviour, &task) else {
        return Ok(None);
    };
    let used = read::day_tokens(db, AgentId(item.agent_row), now.day())?;
    let fits = used.saturating_add(needs) <= daily;
    Ok((!fits).then(|| {
        format!(
            "`daily_tokens` is {daily}, of which {used} are used or reserved today; it may use about \
             {needs}, and waits for the next day (UTC)"
        )
    }))
}
