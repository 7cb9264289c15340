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
//! | `answer` | what it says: one JSON object, or a stream of them |
//! | `lines` | the lines of a stream |
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
//! | `bad-parameters` | no prompt, or `params` that are not allowed | no |
//! | `model-not-allowed` | the job names a model that is not allowed | no |
//! | `no-key` | the secret cannot be read | no |
//! | `unreachable` | there was no connection | yes |
//! | `silent` | nothing came for `idle_timeout` | yes |
//! | `interrupted` | the connection broke within the answer | yes |
//! | `busy` | status 429 or 503 | yes |
//! | `service-error` | another status from 500, 408, or an error in the answer | yes |
//! | `refused` | any other status that is not 200 | no |
//! | `bad-answer` | it is no chat completion | no |
//! | `too-long` | it is longer than `max_response_bytes`, or never ends | no |
//!
//! Of a service that is busy and says for how long (`Retry-After`, in seconds), nothing is asked
//! before, by any job of this type; where that is longer than `retry_after_max`, the attempt
//! fails and the runtime's own pauses hold.

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
mod request;
mod settings;

pub use settings::HttpSettings;

use failure::Failure;
use settings::Service;

/// How often one attempt asks a service that is busy and says for how long.
const ASKS: usize = 3;

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

    async fn ask(&self, task: &Task, desk: &Desk) -> Result<String, Failure> {
        let service = &self.service;
        let body = request::body(service, task)?;
        let key = service.key.read().await?;
        let client = self.client()?;
        let mut asked = 1;
        loop {
            if let Some(then) = self.not_before() {
                tokio::time::sleep_until(then).await;
            }
            let answer = exchange::ask(&client, service, &body, key.as_ref(), desk).await;
            let Err(failure) = answer else { return answer };
            match failure.pause() {
                Some(pause) if asked < ASKS && pause <= service.retry_after_max => {
                    self.leave_alone(pause);
                    asked += 1;
                }
                _ => return Err(failure),
            }
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
        let answer = self.ask(task, desk).await;
        answer.map(TaskOutput::text).map_err(|failure| {
            tracing::warn!(
                agent = %task.agent, kind = %task.kind, task = %task.key, host = self.service.host(),
                attempt = task.attempt, code = failure.code(), again = failure.is_transient(),
                "a service gave no answer: {failure}"
            );
            failure.for_asker()
        })
    }
}
