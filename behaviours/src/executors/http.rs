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
//! | part | holds |
//! |---|---|
//! | `settings` | the keys in agents.toml |
//! | `key` | the secret that the service asks for |
//! | `request` | what the service is asked |
//! | `exchange` | asking it: bounded in size and time |
//! | `pause` | how long a busy service asks to be left alone |
//! | `refused` | whether it refuses for good |
//! | `answer` | what it says: one JSON object, or a stream of them; whether it is an answer |
//! | `lines` | the events or lines of a stream |
//! | `failure` | what may go wrong, and what the asker is told of it |
//!
//! The job's `prompt` becomes the user's message, behind the operator's `system` one. A `model` of
//! the job's is used if it is the configured one or among `models`; a key of its `params` is handed
//! on if it is among `params`; a `max_tokens` among them only lowers the operator's. Anything else
//! is refused.
//!
//! The answer is asked for as a stream, of which each piece is news of progress: the part of
//! `max_tokens` that came, and how many characters. A service that answers with one object all the
//! same is understood. Redirections are not followed and the proxies of the environment are not
//! used, so the secret and the prompt go to the configured host and nowhere else.
//!
//! | code | meaning | again? |
//! |---|---|---|
//! | `bad-request` | no prompt, or `params` that are not allowed | no |
//! | `model-not-allowed` | the job names a model that is not allowed | no |
//! | `no-key` | the secret cannot be read | no |
//! | `unreachable` | there was no connection | yes |
//! | `silent` | nothing came for `idle_timeout` | yes |
//! | `connection-lost` | the connection broke within the answer | yes |
//! | `rate-limited` | status 429 for longer than `idle_timeout` | yes |
//! | `unavailable` | status 503 or 529 for longer than `idle_timeout` | yes |
//! | `quota-exhausted` | status 402, or an error that says that credit or quota are used up | no |
//! | `model-not-found` | an error that says that there is no such model | no |
//! | `service-error` | another status from 500, 408, or an error in the answer | yes |
//! | `aborted` | the service gave the answer up | yes |
//! | `empty` | the answer has no text | yes |
//! | `refused` | any other status that is not 200 | no |
//! | `bad-answer` | it is no chat completion | no |
//! | `too-long` | it is longer than `max_response_bytes`, or never ends | no |
//! | `length` | the model had more to say than it was allowed, and `on_length` is `fail` | no |
//! | `filtered` | a content filter stepped in | no |
//! | `refusal` | the model refused | no |
//! | `tool-call` | the model asked for a tool in place of an answer | no |
//!
//! None of these is a code with a meaning of its own in the protocol: by then the job was taken.
//!
//! A service that is busy, or still loads its model (429, 503, 529), is asked again within the
//! attempt: after the pause that it asks for, at most `retry_after_max`; where it asks for none,
//! after pauses that grow from half a second to half a minute. Meanwhile no job of this type asks
//! it. It is given up after `idle_timeout`.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agentry_sdk::{ConfigureError, Desk, Executor, Setup, Task, TaskError, TaskOutput};
use reqwest::{Client, redirect, retry};
use tokio::time::Instant;

mod answer;
mod exchange;
mod failure;
mod key;
mod lines;
mod pause;
mod refused;
mod request;
mod settings;

pub use settings::{HttpSettings, OnLength};

use answer::Whole;
use failure::{Failure, LENGTH};
use settings::Service;

/// The pause before a busy service that asks for none is asked again; it doubles each time.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause before a busy service that asks for none is asked again.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The shortest pause: that a service asks for none at all is no reason to flood it.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Has a model behind an OpenAI-compatible endpoint do jobs.
#[derive(Debug)]
pub struct Http {
    service: Service,
    /// Made at the first job: many agents are configured, and few of them may ever ask.
    client: OnceLock<Client>,
    /// Before when the service wants to be left alone.
    not_before: Mutex<Option<Instant>>,
}

impl Http {
    fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // An Err says that a provider is installed already: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .connect_timeout(self.service.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_nodelay(true)
            .user_agent(concat!("agentry/", env!("CARGO_PKG_VERSION")))
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
        let service = &self.service;
        let body = request::body(service, task)?;
        let key = service.key.read().await?;
        let client = self.client()?;
        let mut own_pause = MIN_PAUSE;
        let mut busy_since = None;
        loop {
            if let Some(then) = self.not_before() {
                tokio::time::sleep_until(then).await;
            }
            let answer = exchange::ask(&client, service, &body, key.as_ref(), desk).await;
            let Err(failure) = answer else { return answer };
            let longest = service.retry_after_max;
            let Some(asked) = failure.busy().filter(|_| !longest.is_zero()) else {
                return Err(failure);
            };
            let pause = asked.unwrap_or(own_pause).min(longest).max(LEAST_PAUSE);
            own_pause = (own_pause * 2).min(MAX_PAUSE);
            // The next attempt keeps to it too.
            self.leave_alone(pause);
            let now = Instant::now();
            let since = *busy_since.get_or_insert(now);
            if now + pause > since + service.idle_timeout {
                return Err(failure);
            }
            tracing::debug!(
                agent = %task.agent, kind = %task.kind, task = %task.key, host = service.host(),
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "a service is busy and is asked again: {failure}"
            );
        }
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
        })
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        match self.ask(task, desk).await {
            Ok(answer) => {
                let mut output = TaskOutput::text(answer.text);
                output.incomplete = answer.is_cut.then(|| LENGTH.to_owned());
                Ok(output)
            }
            Err(failure) => {
                tracing::warn!(
                    agent = %task.agent, kind = %task.kind, task = %task.key, host = self.service.host(),
                    attempt = task.attempt, code = failure.code(), again = failure.is_transient(),
                    "a service gave no answer: {failure}"
                );
                Err(failure.into_task_error())
            }
        }
    }
}
