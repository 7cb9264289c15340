//! `a2a`: an agent that speaks [A2A](https://a2a-protocol.org) v1.0 does the job.
//!
//! ```toml
//! [agent.behaviours.types.research]
//! executor = "a2a"
//! url = "https://agents.example/researcher"
//! signed_by = ["d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737"]
//! key_file = "keys/researcher"
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `settings` | the keys in agents.toml |
//! | `card` | the agent's card: whether it can be trusted, and how the agent is spoken to |
//! | `canonical` | the bytes of a card that its signatures cover |
//! | `exchange` | requests and answers, with JSON-RPC or REST, within limits of size and time |
//! | `course` | the course of a job, from the message to its result |
//! | `result` | the result: what the agent's artifacts hold |
//! | `wire` | the messages of A2A |
//! | `failure` | the failures, and what the submitter is told |
//!
//! The job's `prompt` becomes a part with a text, and its `params` one with data. What the agent says
//! about its status is the job's progress, and its artifacts are the result. A question of the agent
//! is a question of the job. If the job is canceled, or its time is over, the agent's task is
//! canceled.
//!
//! **Attempts.** The messages of a job have ids that follow from its idempotency key, and the
//! conversation has that key as its id. A further attempt, also after a crash, looks for the task
//! of the conversation and goes on with it; an agent that cannot list its tasks gets the same messages
//! again. A stream that breaks is subscribed to again; an agent that does not stream is asked how far
//! it is.
//!
//! **Trust.** The agent is not trusted. Its card must be signed by a key of `signed_by` if there are
//! any, and lead to where the card is: the same scheme, host and port. Redirects are not followed.
//! Unless `allow_private` is set, connections go to public addresses only, with TLS. Sizes and times
//! are limited, and files that a result refers to are not fetched.
//!
//! | code | meaning | tried again? |
//! |---|---|---|
//! | `bad-request` | the job has neither prompt nor params, or names a model | no |
//! | `no-key` | the key cannot be read | no |
//! | `private-address` | the agent's host has no public address | no |
//! | `card-refused` | the card is not signed by a known key, leads elsewhere, or offers no usable interface | no |
//! | `unreachable` | no connection could be made | yes |
//! | `silent` | nothing was received for `idle_timeout` | yes |
//! | `connection-lost` | the connection was lost, and could not be restored within `idle_timeout` | yes |
//! | `rate-limited` | status 429 | yes |
//! | `unavailable` | status 503 | yes |
//! | `service-error` | another status from 500, 408 or 409, or an internal error of the agent | yes |
//! | `task-lost` | the agent no longer knows the task | yes |
//! | `refused` | another error, or status, of the agent | no |
//! | `bad-answer` | the answer is not one of A2A | no |
//! | `too-long` | the result is longer than `max_response_bytes` | no |
//! | `empty` | the task completed without a result | no |
//! | `agent-failed` | the agent says that the task failed | no |
//! | `agent-rejected` | the agent rejected the task | no |
//! | `agent-canceled` | the agent canceled the task | no |
//! | `auth-required` | the agent demands another authentication for the task | no |

use std::sync::OnceLock;

use agentry_sdk::{ConfigureError, Desk, Executor, RemoteCall, Setup, Task, TaskError, TaskOutput};
use reqwest::Client;

mod canonical;
mod card;
mod course;
mod exchange;
mod failure;
mod result;
mod settings;
mod wire;

pub use canonical::signed_bytes;
pub use settings::A2aSettings;

use course::Course;
use exchange::Connection;
use failure::Failure;
use settings::Peer;

/// Has each job done by an agent that speaks A2A.
#[derive(Debug)]
pub struct A2a {
    peer: Peer,
    /// Made at the first job, since many configured agents may never have one.
    client: OnceLock<Client>,
}

impl A2a {
    async fn have_done(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, Failure> {
        let client = match self.client.get() {
            Some(client) => client,
            None => {
                let client = exchange::client(&self.peer)?;
                self.client.get_or_init(|| client)
            }
        };
        let connection = Connection::open(client, &self.peer, desk.trace()).await?;
        Course::new(connection, self.peer.limits, task, desk)
            .run()
            .await
    }
}

impl Executor for A2a {
    const KIND: &'static str = "a2a";
    type Settings = A2aSettings;

    fn configure(settings: A2aSettings, setup: &Setup<'_>) -> Result<Self, ConfigureError> {
        Ok(Self {
            peer: settings.check(setup)?,
            client: OnceLock::new(),
        })
    }

    async fn execute(&self, task: &Task, desk: &Desk) -> Result<TaskOutput, TaskError> {
        let call = desk.call(RemoteCall {
            operation: "invoke_agent",
            provider: "a2a",
            host: self.peer.host().to_owned(),
            port: self.peer.card.port_or_known_default(),
            ..RemoteCall::default()
        });
        let done = self.have_done(task, desk).await;
        call.end(None, done.as_ref().err().map(Failure::code));
        done.map_err(|failure| {
            tracing::warn!(
                agent = %task.agent, kind = %task.kind, task = %task.key, host = self.peer.host(),
                attempt = task.attempt, code = failure.code(), again = failure.is_transient(),
                "the agent gave no usable answer: {failure}"
            );
            failure.into_task_error()
        })
    }
}
