//! `tasks`: the task executor. It does the jobs that other agents submit with `EXECUTE_AI_JOB`.
//!
//! ```toml
//! [[agent.behaviours]]
//! kind = "tasks"
//! allow = ["alice", "ait1d04ab232742bb4ab3a1368bd4615e4e6d0224ab7"]
//! inline_limit = "32KiB"
//!
//! [agent.behaviours.types.chat]
//! executor = "http"
//! url = "http://127.0.0.1:11434"
//! model = "llama3.2"
//! concurrency = 2
//! time_limit = "5m"
//! attempts = 3
//! progress_every = "10s"
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `settings` | the keys in agents.toml |
//! | `answer` | the answers to the submitter |
//!
//! An accepted job becomes a task of the runtime: durable from the commit that accepts it, done by
//! the [executor](crate::executors) of its type, and answered once. The task's key is the hash of
//! the transaction that submitted the job, not the message's id: an id is public once it was sent,
//! so another sender could use it first. The answers still refer to the job by its id.
//!
//! A refused job is answered with `JOB_FAILED` and one of these codes:
//!
//! | code | reason |
//! |---|---|
//! | `not-allowed` | no rule allows the sender |
//! | `bad-parameters` | the parameters of the command are invalid |
//! | `unknown-type` | the agent does not do this type of job |
//! | `deadline` | the job's deadline has passed |
//! | `too-large` | the prompt and parameters are too large for a task |
//! | `busy` | `max_jobs` jobs, or the sender's share of them, wait or run already |
//!
//! A job whose executor [asks](agentry_sdk::Desk::ask) something waits: its submitter gets
//! JOB_INPUT_REQUIRED, and answers with JOB_INPUT, whose `re` names the job's transaction.
//!
//! FETCH_RESULT, whose `re` names the job's transaction, asks for a part of a result that was cut. It
//! is answered with JOB_RESULT, or with JOB_FAILED and the code `no-result`.
//!
//! `CANCEL_JOB` is accepted from the submitter of the job only. If the job has not ended, the
//! answer is `JOB_FAILED` with the code `canceled`. One agent can have only one behaviour of this
//! kind: two would refuse each other's types.

use std::sync::Arc;

use agentry_sdk::effects::MAX_STATE_VALUE_BYTES;
use agentry_sdk::protocol::command::{ExecuteAiJob, JobError, JobId};
use agentry_sdk::protocol::{KnownCommand, TransactionHash};
use agentry_sdk::task::TaskLimits;
use agentry_sdk::{
    AnyExecutor, Behaviour, BehaviourError, ConfigureError, Context, Desk, Effects, Message, Setup,
    Task, TaskError, TaskNews, TaskOutput, TaskReport, TaskStart,
};
use serde_json::{Map, Value, json};

use crate::allow::{Allow, same_owner};

mod answer;
pub(crate) mod settings;

pub use settings::{TasksSettings, TypeSettings};

use answer::Answers;
use settings::Types;

/// The command that submits a job.
const EXECUTE: &str = "EXECUTE_AI_JOB";
/// The command that cancels a job.
const CANCEL: &str = "CANCEL_JOB";
/// The command that answers a question of a job.
const INPUT: &str = "JOB_INPUT";
/// The command that asks for a part of a job's result.
const FETCH: &str = "FETCH_RESULT";
/// The code that says that there is no result, or no such part of it.
const NO_RESULT: &str = "no-result";
/// The prefix of the state entry of a job; the hash of its transaction follows.
const JOB: &str = "job/";

/// Does the jobs that other agents submit.
#[derive(Debug)]
pub struct Tasks {
    allow: Allow,
    types: Types,
    answers: Answers,
    max_jobs: usize,
}

/// Why a job is refused: a machine-readable code and a text.
type Refusal = (&'static str, String);

impl Tasks {
    fn execute_job(&self, message: &Message, context: &Context) -> Effects {
        let id = job_id(message);
        match self.take(message, id, context) {
            Ok(effects) => effects,
            Err((code, reason)) => Effects::none()
                .reply_with(answer::failed(id, code, &reason))
                .reject(format!("{code}: {reason}")),
        }
    }

    fn take(&self, message: &Message, id: JobId, context: &Context) -> Result<Effects, Refusal> {
        if !self.allow.allows(message, context) {
            let reason = "this agent does not accept jobs from this sender".to_owned();
            return Err(("not-allowed", reason));
        }
        let job = match message.command() {
            Ok(Some(KnownCommand::ExecuteAiJob(job))) => job,
            Ok(_) => return Err(("bad-parameters", "the message is not a job".to_owned())),
            Err(error) => return Err(("bad-parameters", error.to_string())),
        };
        let kind = job.kind.as_str();
        if self.types.get(kind).is_none() {
            let reason = format!("this agent does not do jobs of type {kind:?}");
            return Err(("unknown-type", reason));
        }
        if job.deadline.is_some_and(|last| context.now >= last) {
            return Err((
                "deadline",
                "its deadline had passed when it arrived".to_owned(),
            ));
        }
        self.room_for(message, context)?;
        let input = input(&job).map_err(|reason| ("bad-parameters", reason))?;
        if input.to_string().len() > MAX_STATE_VALUE_BYTES {
            return Err(("too-large", "prompt and params are too large".to_owned()));
        }
        let key = message.transaction.to_string();
        let known = json!({
            "id": id.to_string(),
            "from": message.from.as_str(),
            "standing": message.standing,
        });
        Ok(Effects::none()
            .set_state(format!("{JOB}{key}"), known)
            .start_task(TaskStart {
                key,
                kind: kind.to_owned(),
                input,
                deadline: job.deadline,
            }))
    }
}

impl Tasks {
    /// Checks that the limits allow one more job of the sender of a message.
    fn room_for(&self, message: &Message, context: &Context) -> Result<(), Refusal> {
        let jobs = context.state.entries();
        let jobs: Vec<&Value> = jobs
            .filter(|(name, _)| name.starts_with(JOB))
            .map(|(_, job)| job)
            .collect();
        let having = |key: &str, value: &str| {
            let has = |job: &&&Value| job.get(key).and_then(Value::as_str) == Some(value);
            jobs.iter().filter(has).count()
        };
        let standing = message.standing;
        let whole = u64::try_from(self.max_jobs).unwrap_or(u64::MAX);
        let part = |part: u64| usize::try_from(part).unwrap_or(usize::MAX).max(1);
        let reason = if jobs.len() >= self.max_jobs {
            "this agent has reached its limit of jobs; try again later"
        } else if having("from", message.from.as_str()) >= part(standing.of_one(whole)) {
            "this agent has reached its limit of jobs of one sender; try again when one has ended"
        } else if having("standing", standing.as_str()) >= part(standing.of_all(whole)) {
            "this agent has reached its limit of jobs of unknown senders; try again later"
        } else {
            return Ok(());
        };
        Err(("busy", reason.to_owned()))
    }
}

impl Tasks {
    /// A part of the result of a job that its submitter asks for.
    async fn send_part(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let named = message.header.as_ref().and_then(|header| header.re);
        let refused = |reason: &str| {
            let job = named.map_or_else(|| job_id(message), JobId::Transaction);
            Effects::none()
                .reply_with(answer::failed(job, NO_RESULT, reason))
                .reject(reason)
        };
        let offset = match message.command() {
            Ok(Some(KnownCommand::FetchResult(fetch))) => fetch.offset,
            Ok(_) => return Ok(refused("the message asks for no result")),
            Err(error) => return Ok(refused(&error.to_string())),
        };
        let done = match named {
            Some(job) => context.completed(&job.to_string()).await?,
            None => None,
        };
        let Some(done) = done.filter(|done| {
            let submitter = done.submitter.as_ref();
            submitter.is_some_and(|submitter| same_owner(submitter.as_str(), message))
        }) else {
            // The same text in all cases, so that it does not reveal the jobs of other senders.
            return Ok(refused(
                "the header's \"re\" is not the transaction of a job of yours whose result is kept",
            ));
        };
        let part = self.answers.part(&done.output.text, offset);
        Ok(part.map_or_else(
            || refused("no character of the result begins at this offset"),
            |part| Effects::none().reply_with(part),
        ))
    }
}

fn cancel_job(message: &Message, context: &Context) -> Effects {
    match own_job(message, context) {
        Ok(job) => Effects::none().cancel_task(job.to_string()),
        Err(reason) => Effects::none().reject(reason),
    }
}

/// An answer to a question that the job does not ask now has no effect.
fn answer_job(message: &Message, context: &Context) -> Effects {
    let input = match message.command() {
        Ok(Some(KnownCommand::JobInput(input))) => input,
        Ok(_) => return Effects::none().reject("the message is not an answer"),
        Err(error) => return Effects::none().reject(error.to_string()),
    };
    let answer = input.answer.as_json().root().decode::<Value>();
    match (own_job(message, context), answer) {
        (Err(reason), _) => Effects::none().reject(reason),
        (_, Err(error)) => Effects::none().reject(format!("answer: {error}")),
        (Ok(job), Ok(answer)) => {
            Effects::none().answer_task(job.to_string(), input.number.get(), answer)
        }
    }
}

/// The open job of its sender that a message names.
fn own_job(message: &Message, context: &Context) -> Result<TransactionHash, &'static str> {
    let named = message.header.as_ref().and_then(|header| header.re);
    let job = named.and_then(|hash| Some((hash, context.state.get(&format!("{JOB}{hash}"))?)));
    if let Some((hash, job)) = job
        && let Some(from) = job.get("from").and_then(Value::as_str)
        && same_owner(from, message)
    {
        return Ok(hash);
    }
    // The same text in all cases, so that it does not reveal the jobs of other senders.
    Err("the header's \"re\" is not the transaction of a job of yours that waits or runs")
}

/// The id by which answers refer to the job.
fn job_id(message: &Message) -> JobId {
    let id = message.header.as_ref().and_then(|header| header.id);
    id.map_or(JobId::Transaction(message.transaction), JobId::Message)
}

/// The input for the executor.
fn input(job: &ExecuteAiJob) -> Result<Value, String> {
    let mut input = Map::new();
    if let Some(prompt) = &job.prompt {
        input.insert("prompt".to_owned(), prompt.as_str().into());
    }
    if let Some(model) = &job.model {
        input.insert("model".to_owned(), model.as_str().into());
    }
    if let Some(params) = &job.params {
        let params = params.as_json().root().decode();
        let params: Value = params.map_err(|error| format!("params: {error}"))?;
        input.insert("params".to_owned(), params);
    }
    Ok(Value::Object(input))
}

impl Behaviour for Tasks {
    const KIND: &'static str = "tasks";
    type Settings = TasksSettings;

    fn configure(settings: TasksSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        if settings.allow.is_empty() && settings.allow_capability.is_none() {
            return Err(ConfigureError(
                "no sender may submit jobs: set `allow` to addresses or names, or to [\"*\"] for \
                 every verified sender, or set `allow_capability`"
                    .into(),
            ));
        }
        let allow = Allow::read(settings.allow, settings.allow_capability)?;
        let types = Types::read(settings.types, setup)?;
        let answers = Answers::read(settings.inline_limit, settings.seal_results)?;
        if settings.max_jobs == 0 {
            return Err(ConfigureError(
                "`max_jobs` is 0: every job would be refused; remove the behaviour instead".into(),
            ));
        }
        Ok(Self {
            allow,
            types,
            answers,
            max_jobs: settings.max_jobs,
        })
    }

    fn commands(&self) -> Vec<String> {
        [EXECUTE, CANCEL, INPUT, FETCH].map(str::to_owned).to_vec()
    }

    fn capabilities(&self) -> Vec<String> {
        self.types.names().map(settings::capability).collect()
    }

    fn known_senders(&self) -> Vec<String> {
        self.allow.named()
    }

    fn accepts(&self, message: &Message) -> bool {
        matches!(message.cmd(), Some(EXECUTE | CANCEL | INPUT | FETCH))
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        Ok(match message.cmd() {
            Some(CANCEL) => cancel_job(message, context),
            Some(INPUT) => answer_job(message, context),
            Some(FETCH) => self.send_part(message, context).await?,
            _ => self.execute_job(message, context),
        })
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let Some(executor) = self.types.get(&task.kind) else {
            let reason = "this agent no longer does jobs of this type";
            return Err(TaskError::permanent("type-removed", reason).with_public(reason));
        };
        let executor: &Arc<dyn AnyExecutor> = &executor.executor;
        let done = executor.execute(task, desk).await;
        // The job was accepted, so its failure must not have a code that means a refusal.
        done.map_err(|error| match error.code() {
            code if JobError::is_reserved(code) => {
                let code = format!("executor-{code}");
                error.with_code(code)
            }
            _ => error,
        })
    }

    fn executes(&self, kind: &str) -> bool {
        self.types.get(kind).is_some()
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        let found = self.types.get(kind);
        found.map_or_else(TaskLimits::default, |found| found.limits)
    }

    fn task_tokens(&self, task: &Task) -> Option<u64> {
        self.types.get(&task.kind)?.executor.tokens(task)
    }

    async fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        let name = format!("{JOB}{}", report.task.key);
        let known = context.state.get(&name);
        let id = known.and_then(|known| known.get("id")?.as_str()?.parse().ok());
        let id = id.or_else(|| {
            let hash: TransactionHash = report.task.key.parse().ok()?;
            Some(JobId::Transaction(hash))
        });
        let Some(id) = id else {
            return Err(BehaviourError::permanent(format!(
                "the task {:?} was not started by a job",
                report.task.key
            )));
        };
        let answer = match &report.news {
            TaskNews::Progress { progress, note } => {
                let Some(answer) = answer::progress(id, *progress, note.as_deref()) else {
                    return Ok(Effects::none());
                };
                return Ok(Effects::none().reply_with(answer));
            }
            TaskNews::InputRequired {
                number,
                question,
                schema,
                until,
            } => {
                let schema = schema.as_ref();
                let asked = self
                    .answers
                    .input_required(id, *number, (question, schema), *until);
                let asked = asked.map_err(BehaviourError::permanent)?;
                return Ok(Effects::none().reply_with(asked));
            }
            TaskNews::Completed {
                output,
                duration_ms,
            } => self.answers.complete(id, output, *duration_ms),
            TaskNews::Failed { code, message } => answer::failed(id, code, message),
            TaskNews::Canceled => answer::failed(id, "canceled", "it was canceled"),
        };
        Ok(Effects::none().clear_state(name).reply_with(answer))
    }
}
