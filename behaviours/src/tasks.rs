//! `tasks`: the task executor. It does the jobs that others ask for with `EXECUTE_AI_JOB`.
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
//! | part | holds |
//! |---|---|
//! | `settings` | the keys in agents.toml |
//! | `allow` | who may ask |
//! | `answer` | what is said to whoever asked |
//!
//! A job that is taken becomes a task of the runtime: durable from the commit that takes it, done
//! by the [executor](crate::executors) of its type, answered once. Its key is the hash of the
//! transaction that asked for it, and not the message's id: an id is public once it was sent, so
//! another sender could use it first. What is answered names the job by its id all the same.
//!
//! What is refused is answered with `JOB_FAILED`, and one of these codes:
//!
//! | code | why |
//! |---|---|
//! | `not-allowed` | no rule allows the sender |
//! | `bad-parameters` | the command cannot be understood |
//! | `unknown-type` | there is no such type of job here |
//! | `deadline` | its deadline is over |
//! | `too-large` | prompt and parameters do not fit in a task |
//! | `busy` | `max_jobs` wait or run already, or the part of them that is the sender's |
//!
//! `CANCEL_JOB` is heeded from the one who asked for the job; then, if the job had not ended, it is
//! answered with `JOB_FAILED` and the code `canceled`. One agent has one behaviour of this kind:
//! two would refuse each other's types.

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

mod allow;
mod answer;
mod settings;

pub use settings::{TasksSettings, TypeSettings};

use allow::{Allow, same_owner};
use answer::Answers;
use settings::Types;

/// The command that asks for a job.
const EXECUTE: &str = "EXECUTE_AI_JOB";
/// The command that takes one back.
const CANCEL: &str = "CANCEL_JOB";
/// What the names of a job's state begin with; the hash of its transaction follows.
const JOB: &str = "job/";

/// Does the jobs that others ask for.
#[derive(Debug)]
pub struct Tasks {
    allow: Allow,
    types: Types,
    answers: Answers,
    max_jobs: usize,
}

/// Why a job is not taken: a word for programs and a sentence for people.
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
            let reason = "this agent takes no jobs from you".to_owned();
            return Err(("not-allowed", reason));
        }
        let job = match message.command() {
            Ok(Some(KnownCommand::ExecuteAiJob(job))) => job,
            Ok(_) => return Err(("bad-parameters", "it is no job".to_owned())),
            Err(error) => return Err(("bad-parameters", error.to_string())),
        };
        let kind = job.kind.as_str();
        if self.types.get(kind).is_none() {
            let reason = format!("this agent does no jobs of type {kind:?}");
            return Err(("unknown-type", reason));
        }
        if job.deadline.is_some_and(|last| context.now_ms >= last) {
            return Err(("deadline", "its deadline was over when it came".to_owned()));
        }
        self.room_for(message, context)?;
        let input = input(&job).map_err(|reason| ("bad-parameters", reason))?;
        if input.to_string().len() > MAX_STATE_VALUE_BYTES {
            return Err(("too-large", "prompt and params are too long".to_owned()));
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
                deadline_ms: job.deadline,
            }))
    }
}

impl Tasks {
    /// Whether there is room for one more job of a sender, who may have a part of it.
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
            "this agent has as many jobs as it takes; ask again later"
        } else if having("from", message.from.as_str()) >= part(standing.of_one(whole)) {
            "this agent has as many jobs of yours as of one sender; ask again when one has ended"
        } else if having("standing", standing.as_str()) >= part(standing.of_all(whole)) {
            "this agent has as many jobs of senders that it does not know as it takes; ask again \
             later"
        } else {
            return Ok(());
        };
        Err(("busy", reason.to_owned()))
    }
}

fn cancel_job(message: &Message, context: &Context) -> Effects {
    let named = message.header.as_ref().and_then(|header| header.re);
    let job = named.and_then(|hash| Some((hash, context.state.get(&format!("{JOB}{hash}"))?)));
    if let Some((hash, job)) = job
        && let Some(from) = job.get("from").and_then(Value::as_str)
        && same_owner(from, message)
    {
        return Effects::none().cancel_task(hash.to_string());
    }
    // One sentence for all cases: whose jobs there are is nobody's business.
    Effects::none().reject(
        "its header's \"re\" names no transaction with which you asked for a job that waits or runs",
    )
}

/// What the job is called in answers.
fn job_id(message: &Message) -> JobId {
    let id = message.header.as_ref().and_then(|header| header.id);
    id.map_or(JobId::Transaction(message.transaction), JobId::Message)
}

/// What the executor is given.
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
        let allow = Allow::read(settings.allow, settings.allow_capability)?;
        let types = Types::read(settings.types, setup)?;
        let answers = Answers::read(settings.inline_limit, settings.seal_results)?;
        if settings.max_jobs == 0 {
            return Err(ConfigureError(
                "`max_jobs` is 0: every job would be refused; leave the behaviour out instead"
                    .into(),
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
        vec![EXECUTE.to_owned(), CANCEL.to_owned()]
    }

    fn capabilities(&self) -> Vec<String> {
        self.types.names().map(settings::capability).collect()
    }

    fn known_senders(&self) -> Vec<String> {
        self.allow.named()
    }

    fn accepts(&self, message: &Message) -> bool {
        matches!(message.cmd(), Some(EXECUTE | CANCEL))
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        Ok(match message.cmd() {
            Some(CANCEL) => cancel_job(message, context),
            _ => self.execute_job(message, context),
        })
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let Some(executor) = self.types.get(&task.kind) else {
            let reason = "this agent does no jobs of this type any more";
            return Err(TaskError::permanent("type-removed", reason).with_public(reason));
        };
        let executor: &Arc<dyn AnyExecutor> = &executor.executor;
        let done = executor.execute(task, desk).await;
        // The job was taken: what went wrong then is told by no code that says otherwise.
        done.map_err(|error| match error.code() {
            code if JobError::is_reserved(code) => {
                let code = format!("executor-{code}");
                error.with_code(code)
            }
            _ => error,
        })
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        let found = self.types.get(kind);
        found.map_or_else(TaskLimits::default, |found| found.limits)
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
