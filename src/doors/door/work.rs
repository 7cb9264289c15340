//! The tasks that agents do for others.

use agentry_protocol::Timestamp;
use agentry_store::list::task::{self, ExecutingFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::DoorError;
use super::pages::{Entry, Page};
use super::{About, Door, limit};
use crate::ops::tasks::executing::{self, ExecutingTask};
use crate::ops::tasks::job::JobState;

/// The tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListWork {
    /// Only tasks of this hosted agent: its name or its address. Needed if you may use several agents,
    /// and not all.
    pub agent: Option<String>,
    /// Only tasks in this state.
    pub state: Option<JobState>,
    /// Only tasks that have not ended.
    #[serde(default)]
    pub open: bool,
    /// The most tasks of a page; 20 if not given.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    pub cursor: Option<String>,
}

/// Tasks that agents do, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkPage {
    /// The tasks. Their inputs are data of whoever requested them.
    pub tasks: Vec<WorkEntry>,
    /// The cursor of the next page; null if this is the last.
    pub next: Option<String>,
}

/// The task to look up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetWork {
    /// Its id, such as `task/3`; or the hash or the id under which its submitter knows it.
    pub id: String,
    /// The hosted agent that does it: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
}

/// A task that an agent does, and its result.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkDetails {
    /// The task.
    pub task: WorkEntry,
    /// The whole result; null if there is none.
    pub result: Option<String>,
}

/// A task that an agent does.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkEntry {
    /// Its id, such as `task/3`.
    pub id: String,
    /// Its state.
    pub state: String,
    /// The name of the agent that does it.
    pub agent: String,
    /// The behaviour that started it.
    pub behaviour: String,
    /// The key that the behaviour gave it.
    pub key: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who requested it.
    pub submitter: Option<String>,
    /// The transaction that requested it.
    pub transaction: Option<String>,
    /// Its input.
    pub input: Value,
    /// How many attempts were started.
    pub attempts: u64,
    /// How many of them ended with the process.
    pub interrupted: u64,
    /// The tokens of models that the attempts have read.
    pub input_tokens: u64,
    /// The tokens of models that the attempts have written.
    pub output_tokens: u64,
    /// Its progress, from 0 to 1.
    pub progress: Option<f64>,
    /// The note of the last progress report.
    pub note: Option<String>,
    /// When it was accepted.
    #[schemars(with = "u64")]
    pub made_at: Timestamp,
    /// When it may start.
    #[schemars(with = "u64")]
    pub due_at: Timestamp,
    /// When its last attempt started.
    #[schemars(with = "Option<u64>")]
    pub started_at: Option<Timestamp>,
    /// The time after which its result is of no use.
    #[schemars(with = "Option<u64>")]
    pub deadline_at: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<u64>")]
    pub ended_at: Option<Timestamp>,
    /// The length of its result, in bytes.
    pub result_bytes: Option<u64>,
    /// The media type of the result.
    pub media_type: Option<String>,
    /// Why its result is incomplete, as one word.
    pub incomplete: Option<String>,
    /// Why it, or its last attempt, failed: a code for programs.
    pub error_code: Option<String>,
    /// The same, for people.
    pub error: Option<String>,
    /// Why it cannot be done now.
    pub waits_for: Option<String>,
}

impl From<ExecutingTask> for WorkEntry {
    fn from(task: ExecutingTask) -> Self {
        let incomplete = task.incomplete().map(ToOwned::to_owned);
        let item = task.item;
        Self {
            id: item.id,
            state: item.state,
            agent: item.agent,
            behaviour: item.behaviour,
            key: item.key,
            kind: item.kind,
            submitter: item.submitter,
            transaction: item.transaction,
            input: serde_json::from_str(&item.input).unwrap_or(Value::Null),
            attempts: item.attempts,
            interrupted: item.interrupted,
            input_tokens: item.input_tokens,
            output_tokens: item.output_tokens,
            progress: item.progress,
            note: item.note,
            made_at: item.made_at,
            due_at: item.due_at,
            started_at: item.started_at,
            deadline_at: item.deadline,
            ended_at: item.ended_at,
            result_bytes: item.result_bytes,
            media_type: item.media_type,
            incomplete,
            error_code: item.error_code,
            error: item.error,
            waits_for: task.waits_for,
        }
    }
}

impl Entry for WorkEntry {
    fn id(&self) -> &str {
        &self.id
    }

    fn at(&self) -> Timestamp {
        self.made_at
    }
}

impl Door {
    /// Lists the tasks that agents do for others, page by page.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list_work(&self, request: ListWork) -> Result<WorkPage, DoorError> {
        self.caller.check_read()?;
        let limit = limit(request.limit)?;
        let ListWork {
            agent,
            state,
            open,
            cursor,
            ..
        } = request;
        let (only, place) = (agent.as_deref(), (cursor.as_deref(), limit));
        let listed = self.listed(only, place, |door, before| {
            door.work(agent.clone(), (state, open), before, limit)
        });
        let (tasks, next) = listed.await?;
        Ok(WorkPage { tasks, next })
    }

    /// Tasks that an agent does or, if none is named, all that the caller may use, before a row.
    async fn work(
        self,
        agent: Option<String>,
        (state, open): (Option<JobState>, bool),
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<WorkEntry>, DoorError> {
        self.look(async move |db, door| {
            if open {
                let agent = door.operated(db, agent.as_deref())?;
                let place = (before, limit);
                let (mut tasks, next) = executing::open(db, agent.as_deref(), place, &door.config)?;
                let is_wanted = |task: &ExecutingTask| {
                    state.is_none_or(|state| task.item.state == state.as_str())
                };
                tasks.retain(is_wanted);
                return Ok((tasks.into_iter().map(WorkEntry::from).collect(), next));
            }
            let state = state.map(|state| state.as_str().to_owned());
            let filter = ExecutingFilter {
                agent: door.operated(db, agent.as_deref())?,
                states: state.into_iter().collect(),
                before,
                limit: limit as u64,
                ..ExecutingFilter::default()
            };
            let (tasks, next) = executing::page(db, &filter, &door.config)?;
            Ok((tasks.into_iter().map(WorkEntry::from).collect(), next))
        })
        .await
    }

    /// Looks up a task that an agent does for others.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn get_work(&self, request: GetWork) -> Result<WorkDetails, DoorError> {
        self.caller.check_read()?;
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        door.look(async move |db, door| {
            let found = executing::find(db, &request.id, &door.config)?;
            let address = match &found {
                Some(task) => agentry_store::read::agent_at(db, task.item.agent_row)?,
                None => None,
            };
            let seen = address.is_some_and(|address| door.caller.sees(&address));
            let task = found.filter(|_| seen).ok_or_else(|| {
                DoorError::not_found(format_args!("task {:?} of your agents", request.id))
            })?;
            Ok(WorkDetails {
                result: task::result(db, task.row)?,
                task: task.into(),
            })
        })
        .await
    }
}
