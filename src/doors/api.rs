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

use actix::Recipient;
use actix_web::http::ConnectionType;
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse, Route};
use agentry_core::AgentId;
use agentry_store::Store;
use tokio::sync::watch;

use super::caller::Caller;
use super::door::Door;
use super::error::{DoorError, ErrorCode};
use crate::config::Config;
use crate::runtime::signer::{DocumentSignature, SignDocument};
use events::Hub;
use routes::{ENDPOINTS, Endpoint, Verb};

/// Where the operations are served.
pub const BASE: &str = "/api/v1";

/// How long one request may take: longer than a call of a door waits.
const LONGEST: Duration = Duration::from_secs(75);

/// The parts of a running runtime that the API needs.
#[derive(Clone, Debug)]
pub struct ApiLinks {
    /// The store: tokens, and the rows that change.
    pub store: Store,
    /// The configuration, as it was loaded last.
    pub config: watch::Receiver<Arc<Config>>,
    /// The events.
    pub hub: Hub,
    /// Signs documents as hosted wallets.
    pub sign: Recipient<SignDocument>,
}

/// The API of a runtime, which is served before the runtime has started.
#[derive(Clone, Debug, Default)]
pub struct Api(Arc<OnceLock<ApiLinks>>);

impl Api {
    /// Lets the API work, now that the runtime has started.
    pub fn open(&self, links: ApiLinks) {
        // It starts once.
        let _ = self.0.set(links);
    }

    fn links(&self) -> Result<&ApiLinks, DoorError> {
        let starting = || DoorError::new(ErrorCode::Unavailable, "the runtime is starting");
        self.0.get().ok_or_else(starting)
    }

    /// Who sends a request.
    ///
    /// # Errors
    /// It has no valid token; the runtime is starting.
    pub async fn caller(&self, request: &HttpRequest) -> Result<Caller, DoorError> {
        self.holder(access::secret(request)?).await
    }

    /// The holder of the token with this secret.
    ///
    /// # Errors
    /// There is none that is valid now; the runtime is starting.
    pub async fn holder(&self, secret: &str) -> Result<Caller, DoorError> {
        Caller::with_secret(secret, &self.links()?.store).await
    }

    /// Signs a document as a hosted wallet.
    ///
    /// # Errors
    /// The runtime is starting or stopping, or the wallet cannot be unlocked.
    pub async fn sign(
        &self,
        agent: AgentId,
        document: Vec<u8>,
    ) -> Result<DocumentSignature, DoorError> {
        let refused = |error: &dyn std::fmt::Display| {
            DoorError::new(ErrorCode::Unavailable, "nothing can be signed now").with_detail(error)
        };
        let signed = self.links()?.sign.send(SignDocument { agent, document });
        let signed = signed.await.map_err(|error| refused(&error))?;
        signed.map_err(|error| refused(&error))
    }

    /// The operations for a caller.
    ///
    /// # Errors
    /// The runtime is starting.
    pub fn door(&self, caller: Caller) -> Result<Door, DoorError> {
        let config = Arc::clone(&self.links()?.config.borrow());
        Ok(Door::new(config, caller))
    }
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
        let caller = api.caller(&request).await?;
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
