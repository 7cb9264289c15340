//! Carrying out a tool.

use std::pin::pin;
use std::time::{Duration, Instant};

use agentry_protocol::untrusted::{json_escaped, printable};
use agentry_protocol::{Amount, timestamp};
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, InputResponses, JsonObject,
    ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{RequestContext, RoleServer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::door::Door;
use super::super::door::LONGEST_WAIT;
use super::super::door::directory::GetAgent;
use super::super::door::send::{RESENDS, SendMessage, WaitForReply};
use super::super::door::tasks::{AnswerTask, CancelTask, GetTask, SubmitTask};
use super::super::error::{DoorError, ErrorCode};
use super::asking::{Asked, ask};
use super::limits::Limits;
use super::sending::{Sending, charged_key};
use super::tools::{ANSWER, ANSWERS_TASK, WAIT_MS};
use super::{questions, tasks};
use crate::ops::tasks::ACK_RESENDS;
use crate::ops::tasks::job::{Job, JobState};

/// How often a host is told that a call still waits.
const EVERY: Duration = Duration::from_secs(1);

/// Precedes the id of a task in the state that a host passes back with an answer.
const STATE: &str = "task ";

/// A call of a tool.
pub(super) struct Call<'a> {
    /// The operations for whoever calls.
    pub(super) door: Door,
    /// What the connection may spend.
    pub(super) limits: &'a Limits,
    /// The request.
    pub(super) context: &'a RequestContext<RoleServer>,
    /// What the person at the host has answered.
    pub(super) given: Option<&'a InputResponses>,
    /// The state that was given to the host with a question.
    pub(super) state: Option<&'a str>,
}

/// What remains of the arguments of `send_message` if it answers a question.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerTo {
    to: String,
    from: Option<String>,
}

impl Call<'_> {
    /// Carries out a tool; `None` if there is no such tool.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) async fn run(
        &self,
        tool: &str,
        arguments: JsonObject,
    ) -> Result<Option<CallToolResponse>, DoorError> {
        let door = &self.door;
        let result = match tool {
            "find_agents" => told(&door.find_agents(parsed(arguments)?).await?),
            "get_agent" => told(&door.get_agent(parsed(arguments)?).await?),
            "read_inbox" => told(&door.read_inbox(parsed(arguments)?).await?),
            "get_message" => told(&door.get_message(parsed(arguments)?).await?),
            "agent_status" => told(&door.agent_status(parsed(arguments)?).await?),
            "wait_for_reply" => told(&self.wait_for_reply(parsed(arguments)?).await?),
            "get_task" => {
                let request: GetTask = parsed(arguments)?;
                let limit = wait(request.timeout_ms)?;
                told(&self.follow(request, limit).await?)
            }
            "send_message" => return self.send_message(arguments).await.map(Some),
            "submit_task" => return self.submit_task(arguments).await.map(Some),
            "cancel_task" => return self.cancel_task(parsed(arguments)?).await.map(Some),
            _ => return Ok(None),
        };
        Ok(Some(result.into()))
    }

    async fn wait_for_reply(
        &self,
        request: WaitForReply,
    ) -> Result<impl Serialize + use<>, DoorError> {
        let progress = self.progress(wait(request.timeout_ms)?);
        let note = format!(
            "waiting for what becomes of {}",
            printable(&request.id, 100)
        );
        let mut work = pin!(self.door.wait_for_reply(request));
        loop {
            tokio::select! {
                () = self.context.ct.cancelled() => return Err(canceled()),
                done = &mut work => return done,
                () = tokio::time::sleep(EVERY) => progress.tell(&note).await,
            }
        }
    }

    /// Waits until a task has ended or asks something, at most for this long.
    async fn follow(&self, wanted: GetTask, limit: Duration) -> Result<Job, DoorError> {
        let progress = self.progress(limit);
        loop {
            let left = limit.saturating_sub(progress.began.elapsed());
            let look = GetTask {
                timeout_ms: Some(timestamp::millis(left.min(EVERY))),
                ..wanted.clone()
            };
            let job = tokio::select! {
                () = self.context.ct.cancelled() => return Err(canceled()),
                job = self.door.get_task(look) => job?,
            };
            let is_over = !job.state.is_open() || job.state == JobState::InputRequired;
            if is_over || progress.began.elapsed() >= limit {
                return Ok(job);
            }
            progress.tell(&tasks::standing(&job)).await;
        }
    }

    async fn send_message(&self, mut arguments: JsonObject) -> Result<CallToolResponse, DoorError> {
        match (arguments.remove(ANSWERS_TASK), arguments.remove(ANSWER)) {
            (None, None) => {}
            (Some(Value::String(task)), Some(answer)) => {
                return self.send_answer(&task, answer, parsed(arguments)?).await;
            }
            _ => {
                let message =
                    format!("give `{ANSWERS_TASK}`, a text, and `{ANSWER}`: both or none");
                return Err(DoorError::invalid(message));
            }
        }
        let content = Value::Object(arguments.clone());
        let request: SendMessage = parsed(arguments)?;
        let resends = request.ack.map_or(0, |ack| ack.resends.unwrap_or(RESENDS));
        let amount = Amount(request.amount);
        let sending = Sending {
            tool: "send_message",
            what: format!("send a message with {} to", self.door.amount(amount)),
            whom: Some(request.to.clone()),
            content,
            cost: self.cost(request.from.as_deref(), amount, resends).await?,
        };
        if let Some(asked) = self.confirm(&sending).await? {
            return Ok(asked);
        }
        let key = charged_key(
            "send_message",
            request.from.as_deref(),
            request.key.as_deref(),
        );
        let sent = self.door.send_message(request);
        Ok(told(&self.spend(key, sending.cost, sent).await?).into())
    }

    /// Sends the answer to a question of a task.
    async fn send_answer(
        &self,
        task: &str,
        answer: Value,
        request: AnswerTo,
    ) -> Result<CallToolResponse, DoorError> {
        let job = self.task(task, request.from.clone()).await?;
        let from_other = request
            .from
            .filter(|from| *from != job.from && *from != job.agent);
        if from_other.is_some() {
            let message = "`from` is not the agent that requested the task; leave it out";
            return Err(DoorError::invalid(message));
        }
        if request.to != job.to {
            let named = self.door.get_agent(GetAgent { who: request.to }).await?;
            if named.address.as_str() != job.to {
                let message = "`to` is not the agent that does the task; nothing was sent";
                return Err(DoorError::invalid(message));
            }
        }
        let sending = Sending {
            tool: "answer_task",
            what: format!("answer the task {}", job.id),
            whom: None,
            content: json!([job.id, answer]),
            cost: self.cost(Some(&job.from), Amount::ZERO, 0).await?,
        };
        if let Some(asked) = self.confirm(&sending).await? {
            return Ok(asked);
        }
        let sent = self.answer(&job, answer).await?;
        Ok(told(&sent).into())
    }

    async fn submit_task(&self, mut arguments: JsonObject) -> Result<CallToolResponse, DoorError> {
        let limit = match arguments.remove(WAIT_MS) {
            None => None,
            Some(ms) => Some(wait(parsed_value(ms)?)?),
        };
        let content = Value::Object(arguments.clone());
        let request: SubmitTask = parsed(arguments)?;
        // The host calls again with the answer to a question of the task.
        if let Some(id) = self.state.and_then(|state| state.strip_prefix(STATE)) {
            let task = GetTask {
                id: id.to_owned(),
                agent: request.from,
                timeout_ms: None,
            };
            return self.to_its_end(task, limit.unwrap_or_default()).await;
        }
        let resends = request.ack.map_or(0, |_| ACK_RESENDS);
        let sending = Sending {
            tool: "submit_task",
            what: "request a task of".to_owned(),
            whom: Some(request.to.clone()),
            content,
            cost: self
                .cost(request.from.as_deref(), Amount::ZERO, resends)
                .await?,
        };
        if let Some(asked) = self.confirm(&sending).await? {
            return Ok(asked);
        }
        let key = charged_key(
            "submit_task",
            request.from.as_deref(),
            request.key.as_deref(),
        );
        let submitted = self.door.submit_task(request);
        let job = self.spend(key, sending.cost, submitted).await?;
        let client = self.context.client_capabilities();
        match limit {
            Some(Duration::ZERO) => Ok(told(&job).into()),
            // The protocol names a task by its id alone.
            _ if client.is_some_and(|client| client.supports_tasks()) && self.door.finds_rows() => {
                Ok(tasks::created(&job).into())
            }
            None => Ok(told(&job).into()),
            Some(limit) => self.to_its_end(as_it_is(&job), limit).await,
        }
    }

    /// Waits until a task has ended, and has the person at the host answer its questions. The time
    /// counts from the start and from each answer.
    async fn to_its_end(
        &self,
        task: GetTask,
        limit: Duration,
    ) -> Result<CallToolResponse, DoorError> {
        loop {
            let job = self.follow(task.clone(), limit).await?;
            let Some(input) = questions::open(&job) else {
                return Ok(tasks::ended(&job).into());
            };
            let question = questions::question(&job, input);
            let state = Some(format!("{STATE}{}", job.id));
            match ask(question, self.given, state, self.context).await {
                Asked::Answered(content) => match questions::answer(input, content) {
                    Some(answer) => {
                        self.answer(&job, answer).await?;
                    }
                    None => return Ok(told(&job).into()),
                },
                Asked::Pending(asked) => return Ok(asked.into()),
                Asked::Refused | Asked::Unable => return Ok(told(&job).into()),
            }
        }
    }

    async fn cancel_task(&self, request: CancelTask) -> Result<CallToolResponse, DoorError> {
        let job = self.task(&request.id, request.agent).await?;
        let cost = self.cost(Some(&job.from), Amount::ZERO, 0).await?;
        let sending = Sending {
            tool: "cancel_task",
            what: format!("cancel the task {}", job.id),
            whom: None,
            content: json!(job.id),
            cost,
        };
        if let Some(asked) = self.confirm(&sending).await? {
            return Ok(asked);
        }
        Ok(told(&self.cancel(&job).await?).into())
    }

    /// Has the agent that does a task asked to cancel it.
    pub(super) async fn cancel(&self, job: &Job) -> Result<impl Serialize + use<>, DoorError> {
        let cost = self.cost(Some(&job.from), Amount::ZERO, 0).await?;
        let key = format!("cancel_task/{}", job.id);
        let GetTask { id, agent, .. } = as_it_is(job);
        let canceled = self.door.cancel_task(CancelTask { id, agent });
        self.spend(Some(key), cost, canceled).await
    }

    /// The task with this id, which this agent requested, as it is.
    pub(super) async fn task(&self, id: &str, agent: Option<String>) -> Result<Job, DoorError> {
        let wanted = GetTask {
            id: id.to_owned(),
            agent,
            timeout_ms: None,
        };
        self.door.get_task(wanted).await
    }

    /// Answers the question of a task, and returns what [`SentMessage`] holds.
    ///
    /// [`SentMessage`]: super::super::door::send::SentMessage
    pub(super) async fn answer(&self, job: &Job, answer: Value) -> Result<Value, DoorError> {
        let cost = self.cost(Some(&job.from), Amount::ZERO, 0).await?;
        let number = job.input.as_ref().map_or(0, |input| input.number);
        let key = format!("answer_task/{}/{number}", job.id);
        let GetTask { id, agent, .. } = as_it_is(job);
        let answered = self.door.answer_task(AnswerTask { id, agent, answer });
        let sent = self.spend(Some(key), cost, answered).await?;
        Ok(json!({
            "id": sent.request,
            "transaction": sent.transaction,
            "message_id": null,
            "from": job.from,
            "to": job.to,
        }))
    }

    fn progress(&self, limit: Duration) -> Progress<'_> {
        Progress {
            context: self.context,
            token: self.context.meta.get_progress_token(),
            began: Instant::now(),
            limit,
        }
    }
}

/// The request for a task as it is now.
fn as_it_is(job: &Job) -> GetTask {
    GetTask {
        id: job.id.clone(),
        agent: Some(job.from.clone()),
        timeout_ms: None,
    }
}

/// Tells a host how long a call has waited, of how long it may.
struct Progress<'a> {
    context: &'a RequestContext<RoleServer>,
    token: Option<ProgressToken>,
    began: Instant,
    limit: Duration,
}

impl Progress<'_> {
    async fn tell(&self, note: &str) {
        let Some(token) = self.token.clone() else {
            return;
        };
        let seconds = self.began.elapsed().as_secs_f64();
        let progress = ProgressNotificationParam::new(token, seconds)
            .with_total(self.limit.as_secs_f64())
            .with_message(note);
        // A host that has gone is not told.
        drop(self.context.peer.notify_progress(progress).await);
    }
}

/// The result that tells this.
pub(super) fn told<T: Serialize>(content: &T) -> CallToolResult {
    match serde_json::to_value(content) {
        Ok(content) => {
            let text = content.to_string();
            let mut result = CallToolResult::structured(content);
            // Nothing in it is invisible to a person, or to a model.
            result.content = vec![ContentBlock::text(json_escaped(&text))];
            result
        }
        Err(error) => CallToolResult::error(vec![ContentBlock::text(format!("internal: {error}"))]),
    }
}

fn parsed<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, DoorError> {
    parsed_value(Value::Object(arguments))
}

fn parsed_value<T: DeserializeOwned>(value: Value) -> Result<T, DoorError> {
    serde_json::from_value(value).map_err(|error| DoorError::invalid(error.to_string()))
}

/// How long a call waits.
fn wait(ms: Option<u64>) -> Result<Duration, DoorError> {
    let wait = Duration::from_millis(ms.unwrap_or(0));
    if wait > LONGEST_WAIT {
        let most = LONGEST_WAIT.as_millis();
        return Err(DoorError::invalid(format!(
            "a call waits at most {most} ms"
        )));
    }
    Ok(wait)
}

fn canceled() -> DoorError {
    DoorError::new(ErrorCode::TimedOut, "the call was canceled")
}
