//! `llm`: converses through a language model, and uses tools.
//!
//! ```toml
//! [[agent.behaviours]]
//! kind = "llm"
//! allow = ["alice"]
//! send_to = ["translator"]
//!
//! [agent.behaviours.model]
//! url = "http://127.0.0.1:11434"
//! model = "qwen3"
//! system = "You take orders for a bakery."
//! max_tokens = 500
//!
//! [agent.behaviours.tools.stock]
//! executor = "command"
//! program = "./stock.sh"
//! description = "How much of something is in stock."
//! trusted = true
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `settings` | the keys in agents.toml |
//! | `memory` | what is remembered of a conversation, and where it stands |
//! | `tools` | the tools that are built in |
//! | `turn` | how a message is answered, step by step |
//! | `words` | what the model is told |
//!
//! It gets every text that is not an answer. Each conversation (a sender and a thread) is one entry
//! of the state; its messages are answered one after the other.
//!
//! **Steps.** Each call of the model, and each run of a tool, is a task of the runtime, whose key is
//! the hash of the message's transaction and the number of the step. Its result is stored with the end
//! of the task, so a crash repeats at most the call that was under way. Tokens are reserved before a
//! call, and counted as they were used.
//!
//! **What the model may do** is decided here and not by the model. For a message of a sender that is
//! not trusted (`allow`), and in a conversation with the result of a tool that is not trusted, it may
//! only reply, and use the tools that are `public`. Else it may also find agents, take notes, use all
//! tools, and send to the agents in `send_to`; it never transfers AIT. `approve` in agents.toml can
//! make all of it wait for an operator.
//!
//! **Failures.** A message that cannot be answered, because the model fails, a limit is reached or the
//! model repeats itself, gets one answer that says so, and leaves a dead letter with the reason.

use std::collections::BTreeMap;

use agentry_sdk::protocol::{Authenticity, KnownCommand};
use agentry_sdk::task::TaskLimits;
use agentry_sdk::{
    Behaviour, BehaviourError, ConfigureError, Context, Desk, Effects, Message, Setup, Task,
    TaskError, TaskOutput, TaskReport, Timer,
};

mod memory;
mod settings;
mod tools;
mod turn;
mod words;

pub use settings::{LimitSettings, LlmSettings, MemorySettings, ToolSettings};

use crate::allow::{Allow, Listed};
use crate::executors::http::{Conversation, Http};
use settings::Tool;
use turn::{Run, Work};

/// Converses through a language model.
#[derive(Debug)]
pub struct Llm {
    http: Http,
    allow: Allow,
    strangers: bool,
    unverified: bool,
    /// The agents that the model may send to.
    recipients: Listed,
    tools: BTreeMap<String, Tool>,
    limits: LimitSettings,
    memory: MemorySettings,
}

impl Behaviour for Llm {
    const KIND: &'static str = "llm";
    type Settings = LlmSettings;

    fn configure(mut settings: LlmSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        let tools = settings.tools(setup)?;
        let model = settings.model;
        if !model.models.is_empty() || !model.params.is_empty() {
            return Err(ConfigureError(
                "`model.models` and `model.params` are for jobs, whose submitters choose; remove them"
                    .into(),
            ));
        }
        let http = <Http as agentry_sdk::Executor>::configure(model, setup);
        Ok(Self {
            http: http.map_err(|error| ConfigureError(format!("`model`: {}", error.0)))?,
            allow: Allow::read(settings.allow, None)?,
            strangers: settings.strangers,
            unverified: settings.unverified,
            recipients: Listed::read("send_to", settings.send_to)?,
            tools,
            limits: settings.limits,
            memory: settings.memory,
        })
    }

    fn demands(&self) -> Authenticity {
        match self.unverified {
            true => Authenticity::Unverified,
            false => Authenticity::Verified,
        }
    }

    fn capabilities(&self) -> Vec<String> {
        vec!["chat".to_owned()]
    }

    fn known_senders(&self) -> Vec<String> {
        self.allow.named()
    }

    fn accepts(&self, message: &Message) -> bool {
        match &message.answers {
            Some(answered) => answered.label.as_deref().is_some_and(turn::is_task),
            None => message.text().is_some() && !message.is_answer(),
        }
    }

    async fn on_message(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        if let Some(label) = message
            .answers
            .as_ref()
            .and_then(|answered| answered.label.as_deref())
        {
            return Ok(self.take_answer(label, message, context));
        }
        let Some(text) = message.text() else {
            return Ok(Effects::none());
        };
        let is_trusted = self.allow.allows(message, context);
        if !is_trusted && !self.strangers {
            return Ok(Effects::none().reject("this agent answers only senders that it knows"));
        }
        Ok(Run::arrive(self, message, text, is_trusted, context))
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        match Work::of(task)? {
            Work::Wait { within } => turn::wait(desk, within).await,
            Work::Model(mut conversation, described) => {
                for name in described {
                    self.describe(&name, &mut conversation).await;
                }
                let answer = self.http.converse(task, &conversation, desk).await?;
                Ok(turn::output(answer))
            }
            Work::Tool { name, job } => match self.tools.get(&name) {
                Some(tool) => tool.executor.execute(&job, desk).await,
                None => Err(TaskError::permanent("no-tool", "this tool was removed")),
            },
        }
    }

    fn executes(&self, kind: &str) -> bool {
        turn::is_kind(kind, |tool| self.tools.contains_key(tool))
    }

    fn task_limits(&self, kind: &str) -> TaskLimits {
        let tool = turn::tool_of(kind).and_then(|name| self.tools.get(name));
        tool.map_or_else(|| self.limits.of_calls(), |tool| tool.limits)
    }

    fn task_tokens(&self, task: &Task) -> Option<u64> {
        match Work::of(task).ok()? {
            Work::Wait { .. } => None,
            Work::Model(conversation, _) => Some(self.http.most_tokens(&conversation)),
            Work::Tool { name, job } => self.tools.get(&name)?.executor.tokens(&job),
        }
    }

    async fn on_task(
        &self,
        report: &TaskReport,
        context: &Context,
    ) -> Result<Effects, BehaviourError> {
        Ok(Run::go_on(self, report, context))
    }

    /// A message that was not answered becomes a dead letter.
    async fn on_timer(&self, timer: &Timer, _: &Context) -> Result<Effects, BehaviourError> {
        let reason = timer.data.as_str().unwrap_or("it was not answered");
        Err(BehaviourError::permanent(reason))
    }
}

impl Llm {
    /// Adds what the MCP server of a tool says of it. A tool that cannot be described is not offered.
    async fn describe(&self, name: &str, conversation: &mut Conversation) {
        let Some(tool) = self.tools.get(name) else {
            return;
        };
        match tool.definition.whole(name).await {
            Ok(definition) => conversation.tools.push(definition),
            Err(error) => {
                tracing::warn!(tool = name, %error, "the MCP server does not describe the tool; the model goes without it");
            }
        }
    }

    /// The answer of another agent to a task that the model gave to it.
    fn take_answer(&self, label: &str, message: &Message, context: &Context) -> Effects {
        let is_trusted = self.allow.allows(message, context);
        let answer = match message.command() {
            Ok(Some(KnownCommand::JobComplete(done))) => done.result.text().to_owned(),
            Ok(Some(KnownCommand::JobFailed(failed))) => {
                let text = failed.error.message.as_ref().map(ToString::to_string);
                format!(
                    "it failed: {}: {}",
                    failed.error.code,
                    text.unwrap_or_default()
                )
            }
            Ok(Some(KnownCommand::JobInputRequired(asked))) => {
                format!(
                    "it asks something, which cannot be answered here: {}",
                    asked.question
                )
            }
            // Progress.
            _ => return Effects::none(),
        };
        Run::answered(self, label, &answer, is_trusted, context)
    }
}
