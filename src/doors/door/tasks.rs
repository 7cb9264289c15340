//! Requesting tasks of others, and following them.

use std::time::Instant;

use agentry_protocol::command::{ExecuteAiJob, Params};
use agentry_protocol::{AckRequest, ContentHash, Timestamp};
use agentry_store::Reader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::super::error::{DoorError, ErrorCode};
use super::pages::{Entry, Page};
use super::send::{AckKind, WORD, duration, json};
use super::{About, Door, POLL, limit, parsed, wait};
use crate::ops::tasks::job::{self, Job, JobState};
use crate::ops::tasks::{self, Canceled, SubmitJob, fetch};

/// How many cut results are fetched over the chain at the same time.
const FETCHES: usize = 4;

static FETCHING: Semaphore = Semaphore::const_new(FETCHES);

/// The task to request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitTask {
    /// The hosted agent that requests it: its name or its address; not needed if there is only one.
    pub from: Option<String>,
    /// The agent that is to do it: an address, or a name among hosted agents, contacts and the
    /// directory.
    pub to: String,
    /// The type of the task. The card of an agent lists what it offers as capabilities: `task:` and
    /// the type.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = WORD), length(max = 64))]
    pub kind: String,
    /// The prompt.
    #[schemars(length(max = 65_536))]
    pub prompt: Option<String>,
    /// The model that should answer.
    #[schemars(regex(pattern = WORD), length(max = 256))]
    pub model: Option<String>,
    /// Parameters for what executes it.
    pub params: Option<Map<String, Value>>,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// How long the result is useful, in milliseconds: that is its deadline.
    #[schemars(range(min = 1, max = 31_536_000_000_u64))]
    pub useful_for_ms: Option<u64>,
    /// The acknowledgment to ask for. Without one, the request is resent up to three times.
    pub ack: Option<AckKind>,
    /// Whether the request and the answer are sealed. Otherwise, everybody can read them on the chain,
    /// for ever.
    #[serde(default)]
    pub seal: bool,
    /// Whether it is sent even if the recipient is known not to offer such tasks.
    #[serde(default)]
    pub anyway: bool,
    /// A text of your choice: the same request sent again with the same key is the same task.
    #[schemars(length(min = 1, max = 200))]
    pub key: Option<String>,
}

/// The task to look up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetTask {
    /// Its id, such as `outbox/7`; its `result_id`; or the hash of a transaction that carried it.
    pub id: String,
    /// The hosted agent that requested it: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
    /// How long to wait at most until it has ended or asks for an answer, in milliseconds; up to
    /// 60,000. Without it, the present state is returned at once.
    #[schemars(range(max = 60_000))]
    pub timeout_ms: Option<u64>,
}

/// The tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTasks {
    /// Only tasks that this hosted agent requested: its name or its address.
    pub agent: Option<String>,
    /// Only tasks in this state.
    pub state: Option<JobState>,
    /// The most tasks of a page; 20 if not given. A page may have fewer although there are more.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    pub cursor: Option<String>,
}

/// Requested tasks, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TaskPage {
    /// The tasks. Results, notes and questions are data of whoever does the task.
    pub tasks: Vec<Job>,
    /// The cursor of the next page; null if this is the last.
    pub next: Option<String>,
}

/// The task to cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelTask {
    /// Its id, its `result_id`, or the hash of a transaction that carried it.
    pub id: String,
    /// The hosted agent that requested it: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
}

/// A task whose agent was asked to cancel it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CanceledTask {
    /// The task.
    pub id: String,
    /// Its state before it learned of it.
    pub state: JobState,
    /// The message that asks for it, such as `outbox/8`.
    pub request: String,
    /// The transaction of that message; null until it is signed.
    pub transaction: Option<String>,
}

/// The answer to what a task asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerTask {
    /// The task: its id, its `result_id`, or the hash of a transaction that carried it.
    pub id: String,
    /// The hosted agent that requested it: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
    /// The answer: what `input.schema` of the task describes.
    pub answer: Value,
}

/// A question of a task that was answered. A question has one answer: the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AnsweredTask {
    /// The task.
    pub id: String,
    /// Which of its questions.
    pub input: Option<u32>,
    /// The message with the answer, such as `outbox/8`.
    pub request: String,
    /// The transaction of that message; null until it is signed.
    pub transaction: Option<String>,
}

/// The task whose whole result is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchTaskResult {
    /// The task: its id, its `result_id`, or the hash of a transaction that carried it.
    pub id: String,
    /// The hosted agent that requested it: its name or its address. In a cluster it is needed if you may
    /// use several agents.
    pub agent: Option<String>,
    /// How long to wait at most for the rest of a result that was cut, in milliseconds; up to 60,000,
    /// and that if not given. The next call goes on from there.
    #[schemars(range(max = 60_000))]
    pub timeout_ms: Option<u64>,
}

/// The whole result of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TaskResult {
    /// The task.
    pub id: String,
    /// The address of the agent that did it.
    pub from: String,
    /// The length of the result, in bytes.
    pub bytes: usize,
    /// The SHA-256 of the result.
    pub sha256: String,
    /// What kind of text it is.
    pub media_type: Option<String>,
    /// The result: data of the agent that did the task.
    pub text: String,
}

impl Entry for Job {
    fn id(&self) -> &str {
        &self.id
    }

    fn at(&self) -> Timestamp {
        self.asked_at
    }
}

impl Door {
    /// Requests a task. When this returns `Ok`, the request is stored and will be sent.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn submit_task(&self, request: SubmitTask) -> Result<Job, DoorError> {
        self.caller.check_send()?;
        let door = self.in_shard(About::Agent(request.from.as_deref())).await?;
        let submitted = door.look(async move |db, door| {
            let from = door.agent(db, request.from.as_deref())?;
            let to = door.recipient(&request.to)?;
            let given = request.key.clone();
            let content = SubmitTask {
                key: None,
                ..request
            };
            let wanted = SubmitJob {
                key: door.request_key(db, "task", &from, given.as_deref(), &content)?,
                wallet: from.address.to_string(),
                to,
                job: wanted_job(&content)?,
                thread: content
                    .thread
                    .as_deref()
                    .map(|thread| parsed("thread", thread))
                    .transpose()?,
                useful_for: duration("useful_for_ms", content.useful_for_ms)?,
                ack: content.ack.map(AckRequest::from),
                seal: content.seal,
                anyway: content.anyway,
                token: door.caller.token.clone(),
            };
            let row = tasks::submit(wanted, &door.config).await?;
            Ok(format!("outbox/{row}"))
        });
        let id = submitted.await?;
        // Only another look sees what was stored after the first began.
        let door = door.in_shard(About::Row(None)).await?;
        door.task_of(id).await
    }

    /// Looks up a requested task, and waits for its end or its next question if that is wanted.
    ///
    /// # Errors
    /// [`DoorError`]; that the time is over is not an error.
    pub async fn get_task(&self, request: GetTask) -> Result<Job, DoorError> {
        self.caller.check_read()?;
        let (began, limit) = (Instant::now(), wait(request.timeout_ms)?);
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        loop {
            let job = door.task_of(request.id.clone()).await?;
            let is_over = !job.state.is_open() || job.state == JobState::InputRequired;
            if is_over || began.elapsed() >= limit {
                return Ok(job);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The requested task with this id.
    async fn task_of(&self, id: String) -> Result<Job, DoorError> {
        self.look(async move |db, door| door.task(db, &id).await)
            .await
    }

    /// The requested task with this id, if the caller may see it.
    async fn task(&self, db: &Reader, id: &str) -> Result<Job, DoorError> {
        let job = job::find(db, id, &mut self.opener()).await?;
        let seen = job.filter(|job| self.caller.sees(&job.from));
        seen.ok_or_else(|| DoorError::not_found(format_args!("task {id:?}")))
    }

    /// Lists requested tasks, page by page.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list_tasks(&self, request: ListTasks) -> Result<TaskPage, DoorError> {
        self.caller.check_read()?;
        let limit = limit(request.limit)?;
        let ListTasks {
            agent,
            state,
            cursor,
            ..
        } = request;
        let (only, place) = (agent.as_deref(), (cursor.as_deref(), limit));
        let listed = self.listed(only, place, |door, before| {
            door.tasks(agent.clone(), state, before, limit)
        });
        let (tasks, next) = listed.await?;
        Ok(TaskPage { tasks, next })
    }

    /// Requested tasks of an agent or, if none is named, of all that the caller may use, before a row.
    async fn tasks(
        self,
        agent: Option<String>,
        state: Option<JobState>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<Job>, DoorError> {
        let before = before.unwrap_or(i64::MAX);
        self.look(async move |db, door| {
            let only = match &agent {
                Some(agent) => Some(door.agent(db, Some(agent))?.address),
                None => None,
            };
            let is_wanted = |from: &str| match &only {
                Some(only) => only.as_str() == from,
                None => door.caller.sees(from),
            };
            let opener = &mut door.opener();
            let page = job::page(db, is_wanted, state, (before, limit), opener).await?;
            Ok((page.jobs, page.next))
        })
        .await
    }

    /// Asks the agent that does a task to cancel it.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn cancel_task(&self, request: CancelTask) -> Result<CanceledTask, DoorError> {
        self.caller.check_send()?;
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        door.look(async move |db, door| {
            let id = door.task(db, &request.id).await?.id;
            // A task is canceled by one message, however often that is asked for.
            let key = format!("door/{id}");
            match tasks::cancel(db, &id, (&key, door.caller.token.clone()), &door.config).await? {
                Canceled::Requested { job, sent } => Ok(CanceledTask {
                    id: job.id,
                    state: job.state,
                    request: format!("outbox/{}", sent.outbox),
                    transaction: sent.hash.map(|hash| hash.to_string()),
                }),
                Canceled::Here(_) => Err(DoorError::not_found(format_args!("task {id:?}"))),
            }
        })
        .await
    }

    /// Answers the question that a task asks.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn answer_task(&self, request: AnswerTask) -> Result<AnsweredTask, DoorError> {
        self.caller.check_send()?;
        let answer = json(&request.answer)?;
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        door.look(async move |db, door| {
            let id = door.task(db, &request.id).await?.id;
            let (job, sent) =
                tasks::answer(db, &id, answer, door.caller.token.clone(), &door.config).await?;
            Ok(AnsweredTask {
                id: job.id,
                input: job.input.map(|input| input.number),
                request: format!("outbox/{}", sent.outbox),
                transaction: sent.hash.map(|hash| hash.to_string()),
            })
        })
        .await
    }

    /// Returns the whole result of a task. If it was cut, the agent that did the task is asked for the
    /// rest, which costs fees and needs the right to send.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn fetch_result(&self, request: FetchTaskResult) -> Result<TaskResult, DoorError> {
        self.caller.check_read()?;
        let limit = match request.timeout_ms {
            None => super::LONGEST_WAIT,
            given => wait(given)?,
        };
        let deadline = Instant::now() + limit;
        let door = self.in_shard(About::Row(request.agent.as_deref())).await?;
        let job = door.task_of(request.id).await?;
        let is_cut = job.result.as_ref().is_some_and(|result| !result.whole);
        if is_cut {
            self.caller.check_send()?;
        }
        let turn = match is_cut {
            true => Some(FETCHING.try_acquire().map_err(|_| {
                DoorError::new(
                    ErrorCode::Busy,
                    "too many results are fetched at the moment",
                )
            })?),
            false => None,
        };
        let fetch = async move || {
            let db = agentry_store::open_for_reading(&door.config.store.path)?;
            let pays = door.caller.token.clone();
            let (job, text) =
                fetch::fetch(&db, &job.id, pays, deadline, &door.config, |_, _| {}).await?;
            Ok(TaskResult {
                id: job.id,
                from: job.to,
                bytes: text.len(),
                sha256: ContentHash::of(text.as_bytes()).to_string(),
                media_type: job.result.and_then(|result| result.media_type),
                text,
            })
        };
        match turn {
            None => Self::blocking(fetch).await,
            // It waits for messages, and must not keep others from the store meanwhile.
            Some(turn) => {
                let runtime = tokio::runtime::Handle::current();
                let fetched = tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    runtime.block_on(fetch())
                });
                fetched.await?
            }
        }
    }
}

fn wanted_job(request: &SubmitTask) -> Result<ExecuteAiJob, DoorError> {
    let params = match &request.params {
        Some(params) => {
            let params = Params::new(json(&Value::Object(params.clone()))?);
            let invalid = |error| DoorError::invalid(format!("`params`: {error}"));
            Some(params.map_err(invalid)?)
        }
        None => None,
    };
    let text = |text: &Option<String>| text.clone();
    Ok(ExecuteAiJob {
        prompt: text(&request.prompt)
            .map(|prompt| parsed("prompt", &prompt))
            .transpose()?,
        params,
        kind: parsed("type", &request.kind)?,
        model: text(&request.model)
            .map(|model| parsed("model", &model))
            .transpose()?,
        deadline: None,
    })
}
