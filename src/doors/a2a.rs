//! A2A 1.0: agents on the chain as [A2A](https://a2a-protocol.org) agents, at `/a2a/{agent}`.
//!
//! `[a2a]` names the agents: hosted ones, and others on the chain. A message to one that does jobs is a
//! job (`EXECUTE_AI_JOB`), whose task has the id of the job's message; a message to another one is a
//! text, and its answer is a message. Both are sent from the wallet of the caller's token, or else from
//! `a2a.from`. `messageId` is the key of a message: sent again, it is the same message.
//!
//! | part | holds |
//! |---|---|
//! | [`calls`] | the operations, whatever the binding |
//! | [`target`] | who is meant by the path |
//! | [`card`] | the card of an agent, signed |
//! | [`task`] | jobs and messages as tasks |
//! | [`rpc`], [`rest`] | the two bindings |
//! | [`watch`] | streams of updates |
//! | [`push`], [`deliver`] | where clients are told of tasks; telling them |

pub mod calls;
pub mod card;
pub mod deliver;
pub mod push;
pub mod rest;
pub mod rpc;
pub mod target;
pub mod task;
pub mod watch;

use a2a::A2AError;
use actix_web::HttpRequest;
use actix_web::web::{self, Bytes, Payload};

use super::api::{Api, request};
use super::caller::Caller;
use super::door::{About, Door};
use super::error::{DoorError, ErrorCode};
use target::Target;

/// Where the agents are served.
pub const BASE: &str = "/a2a";

/// The media type of the REST binding.
pub const MEDIA_TYPE: &str = "application/a2a+json";

/// Why a call failed: an error of A2A, with the status of an HTTP response.
#[derive(Clone, Debug)]
pub struct CallError {
    /// The status of an HTTP response.
    pub status: u16,
    /// The error.
    pub error: A2AError,
}

impl From<A2AError> for CallError {
    fn from(error: A2AError) -> Self {
        let status = error.http_status_code();
        Self { status, error }
    }
}

impl From<DoorError> for CallError {
    fn from(error: DoorError) -> Self {
        super::api::answer::log(&error, "a2a");
        let message = error.to_string();
        let code = error.code();
        let error = match code {
            ErrorCode::NotFound => A2AError::new(a2a::error_code::TASK_NOT_FOUND, message),
            ErrorCode::Conflict => A2AError::new(a2a::error_code::TASK_NOT_CANCELABLE, message),
            ErrorCode::UnsupportedMedia => {
                A2AError::new(a2a::error_code::CONTENT_TYPE_NOT_SUPPORTED, message)
            }
            ErrorCode::Invalid | ErrorCode::NotOffered | ErrorCode::KeyReused => {
                A2AError::invalid_params(message)
            }
            _ if code.status() >= 500 => A2AError::internal(message),
            _ => A2AError::invalid_request(message),
        };
        Self {
            status: code.status(),
            error,
        }
    }
}

/// Adds the agents to a server.
pub fn configure(services: &mut web::ServiceConfig) {
    let scope = web::scope(&format!("{BASE}/{{agent}}"))
        .service(web::resource("/.well-known/agent-card.json").route(web::get().to(card::serve)))
        .service(web::resource("").route(web::post().to(rpc::serve)))
        .configure(rest::configure);
    services.service(scope);
}

/// Who calls, and whom.
#[derive(Clone, Debug)]
pub struct Session {
    /// The operations for the caller.
    pub door: Door,
    /// The agent that is called.
    pub target: Target,
    /// The hosted agent that asks on behalf of the caller, if the caller's token names no single one.
    pub from: Option<String>,
    /// Whether what is sent is sealed.
    pub seal: bool,
}

impl Session {
    /// The caller of a request, and the agent in its path.
    ///
    /// # Errors
    /// The caller is not known, or there is no such agent.
    async fn of(api: &Api, request: &HttpRequest) -> Result<Self, CallError> {
        // Who has no token learns nothing, not even which agents there are.
        let caller = api.caller(request).await?;
        check_version(request)?;
        let (door, target) = target(api, caller, request).await?;
        let from = door.a2a_from().filter(|_| !door.has_one_agent());
        Ok(Self {
            seal: door.seals(),
            door: door.of_asking(from.as_deref()).await?,
            from,
            target,
        })
    }
}

impl Door {
    /// The hosted agent of `a2a.from`: it asks for callers whose tokens name no single agent, and signs the
    /// cards of agents that are not hosted.
    fn a2a_from(&self) -> Option<String> {
        let settings = self.config().a2a.as_ref()?;
        settings.from.clone()
    }

    /// Turns to the shard of the agent that asks for the caller: all tasks of the caller are there. If no
    /// single agent does, each operation tells.
    async fn of_asking(self, from: Option<&str>) -> Result<Self, DoorError> {
        match from.is_some() || self.has_one_agent() {
            true => self.in_shard(About::Agent(from)).await,
            false => Ok(self),
        }
    }

    /// Whether what is sent for callers is sealed.
    fn seals(&self) -> bool {
        let settings = self.config().a2a.as_ref();
        settings.and_then(|settings| settings.seal).unwrap_or(true)
    }
}

/// The operations for a caller, and the agent that a request's path names.
async fn target(
    api: &Api,
    caller: Caller,
    request: &HttpRequest,
) -> Result<(Door, Target), DoorError> {
    let name = request.match_info().get("agent").unwrap_or_default();
    let name = request::percent_decoded(name)?;
    let door = api.door(caller)?;
    let target = door.a2a_target(name).await?;
    Ok((door, target))
}

/// Refuses other versions than 1.x. Without the header, a request is of version 0.3.
fn check_version(request: &HttpRequest) -> Result<(), A2AError> {
    let given = request.headers().get(a2a::SVC_PARAM_VERSION.to_lowercase());
    let given = given
        .and_then(|version| version.to_str().ok())
        .unwrap_or("0.3");
    match given.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(A2AError::version_not_supported(given)),
    }
}

/// The body of a request.
async fn body(request: &HttpRequest, body: Payload) -> Result<Bytes, DoorError> {
    request::body_of_type(request, body, &["application/json", MEDIA_TYPE]).await
}
