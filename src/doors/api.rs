//! The HTTP API, `/api/v1`: the operations of a [`Door`] as JSON, and a stream of events.
//!
//! | part | holds |
//! |---|---|
//! | [`routes`] | the table of operations: everything else follows from it |
//! | [`request`] | a request's parameters and body as the request of an operation |
//! | [`openapi`] | the OpenAPI document |
//! | [`answer`] | answers and errors |
//! | [`events`] | server-sent events |
//! | [`access`] | which requests are served at all, and who calls |
//! | [`connections`] | ends connections of clients that do not read |

pub mod access;
pub mod answer;
pub mod connections;
pub mod events;
pub mod openapi;
pub mod request;
pub mod routes;

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::http::{ConnectionType, header};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse, Route};
use agentry_core::cluster::ShardId;
use agentry_protocol::Address;
use tokio::runtime::Handle;

use super::caller::Caller;
use super::console;
use super::console::sessions::{Proof, Sessions};
use super::door::Door;
use super::error::{DoorError, ErrorCode};
use super::shards::Shards;
use crate::config::HttpConfig;
use crate::runtime::presence::{Presence, Running};
use crate::runtime::reload::Loader;
use crate::runtime::series::Series;
use crate::runtime::signer::{DocumentSignature, SignDocument};
use events::Hub;
use routes::{ENDPOINTS, Endpoint, Verb};

/// Where the operations are served.
pub const BASE: &str = "/api/v1";

/// How long one request may take: longer than a call of a door waits.
const LONGEST: Duration = Duration::from_secs(75);

/// What the API of a host of a cluster needs.
#[derive(Debug)]
pub struct OfCluster {
    /// The configuration and the wallets of all shards, as they were read last.
    pub(crate) loader: Loader,
    /// The shards.
    pub shards: Shards,
}

/// The API of a process, which is served before the runtime has started, and while shards come and go.
#[derive(Clone, Debug)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    presence: Presence,
    hub: Hub,
    console: Sessions,
    series: Series,
    workers: Handle,
    cluster: OnceLock<OfCluster>,
}

impl Api {
    /// The API of a process with these workers, with these keys of `[http]`.
    pub fn new(workers: Handle, config: &HttpConfig) -> Self {
        let presence = Presence::default();
        Self(Arc::new(Inner {
            hub: Hub::new(presence.clone(), workers.clone(), config.streams),
            console: Sessions::new(config.console),
            series: Series::default(),
            presence,
            workers,
            cluster: OnceLock::new(),
        }))
    }

    /// The shards that are served. As soon as one is here, the API works.
    pub fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// Serves the shards of a cluster, wherever they run.
    pub fn join(&self, cluster: OfCluster) {
        // A process joins once.
        let _ = self.0.cluster.set(cluster);
    }

    /// Who is signed in to the console.
    pub fn console(&self) -> &Sessions {
        &self.0.console
    }

    /// What was measured in the last hours.
    pub fn series(&self) -> &Series {
        &self.0.series
    }

    /// Who sends a request of the API: the holder of a token, or who is signed in to the console.
    ///
    /// # Errors
    /// It proves neither; the runtime is starting.
    pub async fn visitor(&self, request: &HttpRequest) -> Result<(Caller, Visitor), DoorError> {
        let has_token = request.headers().contains_key(header::AUTHORIZATION);
        if !has_token && console::is_signed_in(self, request) {
            let (proof, session) = console::of(self, request)?;
            return Ok((session.caller(), Visitor::Console(proof)));
        }
        let secret = access::secret(request)?;
        let caller = self.holder(secret).await?;
        Ok((caller, Visitor::Token(secret.to_owned())))
    }

    /// Who sends a request, later: it may have lost its rights since.
    ///
    /// # Errors
    /// As [`visitor`](Self::visitor).
    pub(in crate::doors) async fn again(&self, visitor: &Visitor) -> Result<Caller, DoorError> {
        match visitor {
            Visitor::Token(secret) => self.holder(secret).await,
            Visitor::Console(proof) => {
                let ended = || DoorError::new(ErrorCode::Unauthenticated, "the session has ended");
                let session = self.console().session(proof);
                Ok(session.ok_or_else(ended)?.caller())
            }
        }
    }

    /// Who sends a request.
    ///
    /// # Errors
    /// It has no valid token; the runtime is starting.
    pub async fn caller(&self, request: &HttpRequest) -> Result<Caller, DoorError> {
        self.holder(access::secret(request)?).await
    }

    /// The holder of the token with this secret. Each shard has all tokens.
    ///
    /// # Errors
    /// There is none that is valid now; the runtime is starting.
    pub async fn holder(&self, secret: &str) -> Result<Caller, DoorError> {
        let present = match (self.0.presence.any(), self.0.cluster.get()) {
            (Some(present), _) => present,
            (None, Some(_)) => self.0.presence.reach(ShardId(0)).await?,
            (None, None) => return Err(starting()),
        };
        Caller::with_secret(secret, present.store()).await
    }

    /// Signs a document as the hosted wallet at an address. A host of a cluster has all wallets.
    ///
    /// # Errors
    /// The runtime is starting or stopping, or the wallet cannot be unlocked.
    pub async fn sign(
        &self,
        wallet: &Address,
        document: Vec<u8>,
    ) -> Result<DocumentSignature, DoorError> {
        let unavailable = || DoorError::new(ErrorCode::Unavailable, "nothing can be signed now");
        let refused = |error: &dyn std::fmt::Display| unavailable().with_detail(error);
        let of = |running: &Running| {
            let hosted = running.registry.at(wallet.as_str())?;
            Some((running.sign.clone(), hosted.id))
        };
        if let Some((sign, agent)) = self.0.presence.find(of) {
            let signed = sign.send(SignDocument { agent, document });
            let signed = signed.await.map_err(|error| refused(&error))?;
            return signed.map_err(|error| refused(&error));
        }
        let cluster = self.0.cluster.get();
        let loaded = cluster.map(|cluster| cluster.loader.now());
        let slot = loaded.as_ref().and_then(|loaded| loaded.slot(wallet));
        let slot = Arc::clone(slot.ok_or_else(unavailable)?);
        let signed = move || slot.sign_document(&document);
        let signed = self.0.workers.spawn_blocking(signed).await?;
        signed.map_err(|error| refused(&error))
    }

    /// The operations for a caller.
    ///
    /// # Errors
    /// The runtime is starting.
    pub fn door(&self, caller: Caller) -> Result<Door, DoorError> {
        let loaded = |running: &Running| Some(Arc::clone(&running.config.borrow()));
        match self.0.cluster.get() {
            Some(OfCluster { loader, shards }) => {
                let config = Arc::clone(&loader.now().config);
                Ok(Door::of_cluster(config, caller, shards.clone()).with_series(self.series()))
            }
            None => {
                let loaded = self.0.presence.find(loaded);
                let door = Door::new(loaded.ok_or_else(starting)?, caller);
                Ok(door.with_series(self.series()))
            }
        }
    }

    fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// In a cluster, the shards whose agents a caller may use.
    fn shards_of(&self, caller: &Caller) -> Vec<ShardId> {
        let cluster = self.0.cluster.get();
        cluster.map_or_else(Vec::new, |cluster| cluster.shards.of(caller))
    }
}

/// How who sends a request has proved who it is.
#[derive(Clone)]
pub enum Visitor {
    /// With the secret of a token.
    Token(String),
    /// By being signed in to the console.
    Console(Proof),
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(***)",
            Self::Console(_) => "Console(***)",
        })
    }
}

fn starting() -> DoorError {
    DoorError::new(ErrorCode::Unavailable, "the runtime is starting")
}

/// Adds the API to a server.
pub fn configure(services: &mut web::ServiceConfig) {
    let mut scope = web::scope(BASE);
    for path in routes::paths() {
        let mut resource = web::resource(routes::pattern(path));
        let mut allow = Vec::new();
        for endpoint in ENDPOINTS.iter().filter(|endpoint| endpoint.path == path) {
            allow.push(endpoint.verb.as_str());
            resource = resource.route(route(endpoint));
        }
        let allow = allow.join(", ");
        let other = move || {
            let allow = allow.clone();
            async move { answer::wrong_method(&allow) }
        };
        scope = scope.service(resource.default_service(web::to(other)));
    }
    let only_get = || async { answer::wrong_method("GET") };
    scope = scope
        .service(
            web::resource("/events")
                .route(web::get().to(events::stream))
                .default_service(web::to(only_get)),
        )
        .service(
            web::resource("/openapi.json")
                .route(web::get().to(openapi::document))
                .default_service(web::to(only_get)),
        )
        .default_service(web::to(|| async {
            answer::error(&DoorError::not_found("such operation"))
        }));
    services.service(scope);
}

fn route(endpoint: &'static Endpoint) -> Route {
    let route = match endpoint.verb {
        Verb::Get => web::get(),
        Verb::Post => web::post(),
    };
    route.to(
        move |api: web::Data<Api>, request: HttpRequest, body: Payload| {
            serve(endpoint, api, request, body)
        },
    )
}

async fn serve(
    endpoint: &'static Endpoint,
    api: web::Data<Api>,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    let is_read = Cell::new(false);
    let carried_out = async {
        let (caller, _) = api.visitor(&request).await?;
        let wanted = request::read(endpoint, &request, body).await?;
        is_read.set(true);
        (endpoint.call)(api.door(caller)?, wanted).await
    };
    let limited = tokio::time::timeout(LONGEST, carried_out).await;
    let late = |_| DoorError::new(ErrorCode::TimedOut, "the request took too long");
    match limited.map_err(late).and_then(|result| result) {
        Ok(json) => answer::json(endpoint.status, json),
        Err(error) => {
            answer::log(&error, endpoint.name);
            let mut response = answer::error(&error);
            if !is_read.get() && endpoint.verb == Verb::Post {
                // Otherwise, the server would read the rest of the body for the next request.
                let head = response.head_mut();
                head.set_connection_type(ConnectionType::Close);
            }
            response
        }
    }
}
