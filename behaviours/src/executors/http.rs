//! `http`: a model behind an OpenAI-compatible chat-completions endpoint does the job. Ollama, vLLM
//! and llama.cpp serve one.
//!
//! ```toml
//! [agent.behaviours.types.chat]
//! executor = "http"
//! url = "http://127.0.0.1:11434"
//! model = "llama3.2"
//! models = ["qwen3"]
//! system = "Answer in one sentence."
//! max_tokens = 500
//! key_file = "keys/model"
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `settings` | the keys in agents.toml |
//! | `request` | the request |
//! | `exchange` | sending the request and reading the answer, within limits of size and time |
//! | `pause` | the pause that a busy service asks for |
//! | `refused` | whether a refusal is permanent |
//! | `answer` | the answer: one JSON object, or a stream of them; whether it is complete |
//! | `failure` | the failures, and what the submitter is told |
//!
//! The job's `prompt` becomes the user message, after the operator's `system` message. The job's
//! `model` is used if it is the configured one or in `models`. A key of its `params` is passed on
//! if it is in `params`; its `max_tokens` can only lower the operator's. Anything else is refused.
//!
//! Each request of a task has the same header `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header), so that a service that knows it does the work of a
//! repeated request once.
//!
//! The request asks for a stream. Each piece reports progress: the part of `max_tokens` and the
//! number of characters received. An answer in one object is accepted too. Redirects are not
//! followed and the proxies of the environment are not used, so the key and the prompt go to the
//! configured host only.
//!
//! **Tokens.** `usage` of the answer says how many tokens it cost; a stream is asked for it with
//! `stream_options`, and asked again without it by a service that refuses that. Where a service does
//! not say it, or says something impossible, the number is estimated: one token for three bytes of
//! text. Answers that fail the job are counted too.
//!
//! | code | meaning | tried again? |
//! |---|---|---|
//! | `bad-request` | the job has no prompt, or `params` that are not allowed | no |
//! | `model-not-allowed` | the job names a model that is not allowed | no |
//! | `no-key` | the API key cannot be read | no |
//! | `unreachable` | no connection could be made | yes |
//! | `silent` | nothing was received for `idle_timeout` | yes |
//! | `connection-lost` | the connection was lost during the answer | yes |
//! | `rate-limited` | status 429 for longer than `idle_timeout` | yes |
//! | `unavailable` | status 503, 529 or 409 for longer than `idle_timeout` | yes |
//! | `quota-exhausted` | status 402, or an error that says that the credit or quota is used up | no |
//! | `model-not-found` | an error that says that the model does not exist | no |
//! | `service-error` | another status from 500, 408, or an error in the answer | yes |
//! | `aborted` | the service aborted the answer | yes |
//! | `empty` | the answer has no text | yes |
//! | `refused` | any other status than 200 | no |
//! | `bad-answer` | the answer is not a chat completion | no |
//! | `too-long` | the answer is longer than `max_response_bytes`, or never ends | no |
//! | `length` | the model reached its limit of tokens, and `on_length` is `fail` | no |
//! | `filtered` | a content filter blocked the answer | no |
//! | `refusal` | the model refused | no |
//! | `tool-call` | the model requested a tool call instead of answering | no |
//!
//! The protocol gives none of these codes a meaning of its own: the job was accepted before.
//!
//! If the service is busy, still loading its model, or still at work on an earlier request with the
//! same key (429, 503, 529; 409), the request is sent again within the attempt. The pause is the one that the service asks for, at most `retry_after_max`;
//! if it asks for none, the pauses grow from half a second to half a minute. During a pause no job
//! of this type sends a request. The attempt fails after `idle_timeout`.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agentry_sdk::protocol::timestamp::millis;
use agentry_sdk::{ConfigureError, Desk, Executor, Setup, Task, TaskError, TaskOutput};
use backon::{ExponentialBuilder, Retryable};
use reqwest::Client;
use tokio::time::Instant;

mod answer;
mod exchange;
mod failure;
mod pause;
mod refused;
mod request;
mod settings;

pub use settings::{HttpSettings, OnLength};

pub(crate) use answer::{Call, Whole};
use failure::{Failure, LENGTH};
pub(crate) use request::Conversation;
use request::Request;
use settings::Service;

use crate::net;

/// The pauses for a busy service that asks for none, with jitter up to half a minute.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(15))
    .with_jitter()
    .without_max_times();

/// The shortest pause, even if the service asks for a pause of zero.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Does each job with a model behind an OpenAI-compatible endpoint.
#[derive(Debug)]
pub struct Http {
    service: Service,
    /// Made at the first job, since many configured agents may never have one.
    client: OnceLock<Client>,
    /// The end of the pause that the service asked for.
    not_before: Mutex<Option<Instant>>,
    /// Whether the service refuses `stream_options`.
    is_plain: AtomicBool,
}

impl Http {
    fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = net::client(self.service.connect_timeout)
            .build()
            .map_err(Failure::client)?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    fn not_before(&self) -> Option<Instant> {
        let not_before = self.not_before.lock();
        *not_before.unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_alone(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let not_before = self.not_before.lock();
        let mut not_before = not_before.unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(Some(until));
    }

    async fn ask(&self, task: &Task, desk: &Desk) -> Result<Whole, Failure> {
        if self.is_plain.load(Ordering::Relaxed) {
            return self.ask_with(task, desk, false).await;
        }
        match self.ask_with(task, desk, true).await {
            Err(failure) if failure.names_stream_options() => {
                let answer = self.ask_with(task, desk, false).await;
                // The text of a refusal may quote the job, so it alone proves nothing.
                if answer.is_ok() {
                    self.is_plain.store(true, Ordering::Relaxed);
                }
                answer
            }
            answer => answer,
        }
    }

    async fn ask_with(&self, task: &Task, desk: &Desk, counts: bool) -> Result<Whole, Failure> {
        let asked = Request {
            task,
            body: request::body(&self.service, task, counts)?,
            prompt_tokens: request::prompt_tokens(&self.service, task),
            has_tools: false,
        };
        self.send(&asked, desk).await
    }

    async fn send(&self, asked: &Request<'_>, desk: &Desk) -> Result<Whole, Failure> {
        let service = &self.service;
        let task = asked.task;
        let key = service.key.read().await.map_err(Failure::NoKey)?;
        let client = self.client()?;
        let longest = service.retry_after_max;
        let mut busy_since = None;
        let request = || async {
            if let Some(then) = self.not_before() {
                tokio::time::sleep_until(then).await;
            }
            exchange::ask(&client, service, asked, key.as_ref(), desk).await
        };
        request
            .retry(PAUSES)
            .sleep(tokio::time::sleep)
            .when(|failure| failure.busy().is_some() && !longest.is_zero())
            .adjust(|failure, own| {
                let pause = failure.busy()?.or(own)?.min(longest).max(LEAST_PAUSE);
                // The next attempt observes the pause too.
                self.leave_alone(pause);
                let now = Instant::now();
                let since = *busy_since.get_or_insert(now);
                (now + pause <= since + service.idle_timeout).then_some(pause)
            })
            .notify(|failure, pause| {
                tracing::debug!(
                    agent = %task.agent, kind = %task.kind, task = %task.key, host = service.host(),
                    pause_ms = millis(pause),
                    "the model service is busy; the request is sent again: {failure}"
                );
            })
            .await
    }
}

impl Http {
    /// Has the model go on with a conversation.
    ///
    /// # Errors
    /// As an attempt at a job.
    pub(crate) async fn converse(
        &self,
        task: &Task,
        conversation: &Conversation,
        desk: &Desk,
    ) -> Result<Whole, TaskError> {
        let asked = Request {
            task,
            body: request::turn(&self.service, conversation),
            prompt_tokens: conversation.tokens(),
            has_tools: !conversation.tools.is_empty(),
        };
        self.traced(task, desk, self.send(&asked, desk)).await
    }

    /// About how many tokens going on with a conversation costs at most: of a service without
    /// `max_tokens`, only those that the model reads are known.
    pub(crate) fn most_tokens(&self, conversation: &Conversation) -> u64 {
        let most = self.service.max_tokens.map_or(0, u64::from);
        conversation.tokens().saturating_add(most)
    }

    /// The system message.
    pub(crate) fn system(&self) -> Option<&str> {
        self.service.system.as_deref()
    }

    /// Waits for an answer, which traces and the log show.
    async fn traced(
        &self,
        task: &Task,
        desk: &Desk,
        answer: impl Future<Output = Result<Whole, Failure>>,
    ) -> Result<Whole, TaskError> {
        let call = desk.call(request::call(&self.service, task));
        let answer = answer.await;
        let error = answer.as_ref().err().map(Failure::code);
        call.end(Some(desk.tokens()).filter(|used| !used.is_none()), error);
        answer.map_err(|failure| {
            tracing::warn!(
                agent = %task.agent, kind = %task.kind, task = %task.key, host = self.service.host(),
                attempt = task.attempt, code = failure.code(), again = failure.is_transient(),
                "the model service gave no usable answer: {failure}"
            );
            failure.into_task_error()
        })
    }
}

impl Executor for Http {
    const KIND: &'static str = "http";
    type Settings = HttpSettings;

    fn configure(settings: HttpSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self {
            service: settings.check(setup)?,
            client: OnceLock::new(),
            not_before: Mutex::new(None),
            is_plain: AtomicBool::new(false),
        })
    }

    fn tokens(&self, task: &Task) -> Option<u64> {
        Some(request::most_tokens(&self.service, task))
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let answer = self.traced(task, desk, self.ask(task, desk)).await?;
        let mut output = TaskOutput::text(answer.text);
        output.incomplete = answer.is_cut.then(|| LENGTH.to_owned());
        Ok(output)
    }
}
