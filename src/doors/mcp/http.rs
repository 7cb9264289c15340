//! MCP's Streamable HTTP transport on actix-web.
//!
//! rmcp has the transport as a service of its own HTTP types. An [`Endpoint`] reads a request of
//! actix-web, gives it to that service, and streams the answer back.
//!
//! Each token has a service, and thus sessions, of its own: nobody can continue or listen to the
//! session of another. A stream ends when its token does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::{self, Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use agentry_protocol::ContentHash;
use futures_util::{StreamExt, stream};
use rmcp::ServerHandler;
use rmcp::model::Extensions;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::api::connections::Connection;
use super::super::api::request::{self, MAX_BODY};
use super::super::api::{Api, access, answer};
use super::super::error::{DoorError, ErrorCode};
use super::McpServer;

/// Where it is served.
pub const PATH: &str = "/mcp";

/// How often a client hears something, and its token is checked again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How many requests of one token are served at a time, open streams included.
const CONCURRENT: usize = 32;

/// How many sessions one token may have. One that is idle ends after five minutes.
const SESSIONS: usize = 16;

/// At this many tokens, those that are idle are forgotten: they have nothing but a place here.
const PRINCIPALS: usize = 256;

/// Adds [`PATH`] to a server that has an [`Api`] in its data.
pub fn configure(services: &mut web::ServiceConfig, endpoint: web::Data<Endpoint<McpServer>>) {
    services
        .app_data(endpoint)
        .service(web::resource(PATH).to(serve));
}

/// The endpoint that [`configure`] takes: one for all of a server.
pub fn endpoint() -> web::Data<Endpoint<McpServer>> {
    web::Data::new(Endpoint::new(McpServer::over_http))
}

async fn serve(
    api: web::Data<Api>,
    endpoint: web::Data<Endpoint<McpServer>>,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    let admitted = async {
        let secret = access::secret(&request)?.to_owned();
        let door = api.door(api.holder(&secret).await?)?;
        Ok((secret, door))
    };
    let (secret, door) = match admitted.await {
        Ok(admitted) => admitted,
        Err(error) => return refused(&error),
    };
    let name = ContentHash::of(secret.as_bytes()).to_string();
    let revoked = async move {
        loop {
            tokio::time::sleep(KEEP_ALIVE).await;
            if api.holder(&secret).await.is_err() {
                return;
            }
        }
    };
    let admitted = Admitted {
        name: &name,
        rights: door,
        until: revoked,
    };
    endpoint.answer(admitted, &request, body).await
}

/// An error. The rest of the request is not read, so the connection ends.
fn refused(error: &DoorError) -> HttpResponse {
    answer::log(error, "mcp");
    let mut response = answer::error(error);
    response
        .head_mut()
        .set_connection_type(ConnectionType::Close);
    response
}

/// Serves a handler over Streamable HTTP.
///
/// It does not authenticate, and does not look at `Host` and `Origin`: the server that it is part of
/// does that before, for all its paths.
pub struct Endpoint<S> {
    make: Arc<dyn Fn() -> S + Send + Sync>,
    principals: Mutex<HashMap<String, Principal<S>>>,
}

/// Who sends a request.
#[derive(Debug)]
pub struct Admitted<'a, R, U> {
    /// What tells principals apart.
    pub name: &'a str,
    /// Its rights, which the handler finds in the request ([`rights_of`]).
    pub rights: R,
    /// Ready when it has lost them.
    pub until: U,
}

/// What is served to one principal.
struct Principal<S> {
    service: StreamableHttpService<S, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    places: Arc<Semaphore>,
}

impl<S> Clone for Principal<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            sessions: Arc::clone(&self.sessions),
            places: Arc::clone(&self.places),
        }
    }
}

impl<S> fmt::Debug for Endpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl<S: ServerHandler> Endpoint<S> {
    /// An endpoint that makes a handler for each session, and for each request without one.
    pub fn new(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self {
            make: Arc::new(make),
            principals: Mutex::default(),
        }
    }

    /// Answers a request.
    pub async fn answer<R, U>(
        &self,
        from: Admitted<'_, R, U>,
        request: &HttpRequest,
        body: Payload,
    ) -> HttpResponse
    where
        R: Clone + Send + Sync + 'static,
        U: Future<Output = ()> + 'static,
    {
        match self.answered(from, request, body).await {
            Ok(response) => response,
            Err(error) => refused(&error),
        }
    }

    async fn answered<R, U>(
        &self,
        from: Admitted<'_, R, U>,
        request: &HttpRequest,
        body: Payload,
    ) -> Result<HttpResponse, DoorError>
    where
        R: Clone + Send + Sync + 'static,
        U: Future<Output = ()> + 'static,
    {
        let busy = |what: &str| DoorError::new(ErrorCode::Busy, what);
        let principal = self.principal(from.name);
        let place = Arc::clone(&principal.places).try_acquire_owned();
        let place = place.map_err(|_| busy("too many requests and streams are open"))?;
        let body = request::body(request, body).await?;
        let mut asked = translated(request, body)?;
        let is_full = principal.sessions.sessions.read().await.len() >= SESSIONS;
        if is_full && opens_session(&asked) {
            return Err(busy("too many sessions are open"));
        }
        asked.extensions_mut().insert(from.rights);
        let answer = principal.service.handle(asked).await;
        let connection = request.conn_data::<Connection>().cloned();
        Ok(streamed(answer, connection, from.until, place))
    }

    fn principal(&self, name: &str) -> Principal<S> {
        let mut principals = self
            .principals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if principals.len() >= PRINCIPALS && !principals.contains_key(name) {
            principals.retain(|_, known| !known.is_idle());
        }
        let new = || Principal::new(Arc::clone(&self.make));
        principals
            .entry(name.to_owned())
            .or_insert_with(new)
            .clone()
    }
}

impl<S: ServerHandler> Principal<S> {
    fn new(make: Arc<dyn Fn() -> S + Send + Sync>) -> Self {
        let sessions = Arc::new(LocalSessionManager::default());
        let config = StreamableHttpServerConfig::default()
            .with_max_request_body_bytes(MAX_BODY)
            .with_sse_keep_alive(Some(KEEP_ALIVE))
            .disable_allowed_hosts();
        let service = StreamableHttpService::new(move || Ok(make()), Arc::clone(&sessions), config);
        Self {
            service,
            sessions,
            places: Arc::new(Semaphore::new(CONCURRENT)),
        }
    }

    fn is_idle(&self) -> bool {
        let sessions = self.sessions.sessions.try_read();
        self.places.available_permits() == CONCURRENT && sessions.is_ok_and(|all| all.is_empty())
    }
}

/// The rights that an [`Endpoint`] was given with a request.
pub fn rights_of<R: Clone + Send + Sync + 'static>(request: &Extensions) -> Option<R> {
    let parts = request.get::<http::request::Parts>()?;
    parts.extensions.get::<R>().cloned()
}

/// Whether a request begins a session.
fn opens_session(request: &http::Request<String>) -> bool {
    #[derive(Deserialize)]
    struct Message {
        method: String,
    }
    let message = serde_json::from_str::<Message>(request.body());
    message.is_ok_and(|message| message.method == "initialize")
}

/// The request in the types of rmcp, without the secret.
fn translated(request: &HttpRequest, body: Bytes) -> Result<http::Request<String>, DoorError> {
    let text = String::from_utf8(body.into());
    let text = text.map_err(|_| DoorError::invalid("the body is not UTF-8"))?;
    let mut asked = http::Request::builder()
        .method(request.method().as_str())
        .uri(request.uri().path());
    for (name, value) in request.headers() {
        if name != actix_web::http::header::AUTHORIZATION {
            asked = asked.header(name.as_str(), value.as_bytes());
        }
    }
    let asked = asked.body(text);
    asked.map_err(|error| DoorError::invalid(error.to_string()))
}

/// The answer in the types of actix-web. Its place is free again when it was sent, or when the
/// client has gone.
fn streamed(
    answer: http::Response<
        impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin + 'static,
    >,
    connection: Option<Connection>,
    until: impl Future<Output = ()> + 'static,
    place: OwnedSemaphorePermit,
) -> HttpResponse {
    let (head, mut body) = answer.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16());
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in &head.headers {
        // The length and how it is sent are actix-web's to say.
        if ![CONTENT_LENGTH.as_str(), TRANSFER_ENCODING.as_str()].contains(&name.as_str()) {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    let length = body.size_hint().exact();
    let frames = stream::poll_fn(move |context| {
        let _ = &place;
        Pin::new(&mut body).poll_frame(context)
    });
    let chunks = frames.filter_map(move |frame| {
        if let Some(connection) = &connection {
            connection.writing();
        }
        let chunk = frame.map(|frame| frame.into_data().ok()).transpose();
        std::future::ready(chunk)
    });
    match length {
        Some(length) => response.body(SizedStream::new(length, chunks)),
        None => response.streaming(Box::pin(chunks.take_until(Box::pin(until)))),
    }
}
