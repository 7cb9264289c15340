//! The HTTP server, on loopback: `/health`, `/ready`, `/metrics`, the [API](crate::doors::api),
//! [MCP](crate::doors::mcp), and the [web console](crate::doors::console).
//!
//! Every request passes the same guards. Connections, the time for a request's head, its body and its
//! response, and the size of a body are limited.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{ServerHandle, Service};
use actix_web::http::{KeepAlive, Method, header};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource, Route, guard, web};

use super::metrics::Metrics;
use super::metrics::text::Format;
use crate::config::{HostName, HttpConfig};
use crate::doors::a2a;
use crate::doors::api::connections::{Connection, Connections};
use crate::doors::api::{self, Api, access};
use crate::doors::{console, mcp};

/// How long the head of a request may take to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection waits for its next request.
const KEEP: Duration = Duration::from_secs(15);

/// A running server.
#[derive(Debug)]
pub struct StatusServer {
    handle: ServerHandle,
    address: SocketAddr,
    /// Ends connections of clients that do not read.
    watching: actix_rt::task::JoinHandle<()>,
}

impl StatusServer {
    /// Starts serving. Must be called within an actix system.
    ///
    /// # Errors
    /// The address cannot be listened on; most often another process already listens there.
    pub fn start(config: &HttpConfig, metrics: Arc<Metrics>, api: Api) -> std::io::Result<Self> {
        let metrics = web::Data::from(metrics);
        let (sessions, api) = (api.console().clone(), web::Data::new(api));
        let is_console = sessions.is_on();
        let allowed: Arc<[HostName]> = config.allowed_hosts.clone().into();
        let endpoint = mcp::http::endpoint();
        let connections = Connections::default();
        let watching = actix_rt::spawn(connections.clone().watch());
        let server = HttpServer::new(move || {
            let allowed = Arc::clone(&allowed);
            App::new()
                .app_data(metrics.clone())
                .app_data(api.clone())
                .wrap(from_fn(move |request, next| {
                    access::guard(request, next, Arc::clone(&allowed))
                }))
                .wrap(access::headers())
                .wrap_fn(|request, service| {
                    let connection = request.conn_data::<Connection>().cloned();
                    if let Some(connection) = &connection {
                        connection.serving();
                    }
                    let response = service.call(request);
                    async move {
                        let response = response.await;
                        if let Some(connection) = &connection {
                            connection.writing();
                        }
                        response
                    }
                })
                .service(page("/health", reading().to(health)))
                .service(page("/ready", reading().to(ready)))
                .service(page("/metrics", reading().to(text)))
                .configure(api::configure)
                .configure(a2a::configure)
                .configure(|services| mcp::http::configure(services, endpoint.clone()))
                .configure(|services| {
                    if is_console {
                        console::configure(services);
                    }
                })
        })
        .workers(1)
        .max_connections(config.connections)
        .client_request_timeout(HEAD)
        .keep_alive(KeepAlive::Timeout(KEEP))
        .on_connect(move |io, data| connections.connected(io, data))
        .disable_signals()
        .shutdown_timeout(1)
        .bind(config.listen)?;
        let address = server.addrs().first().copied().unwrap_or(config.listen);
        sessions.listens(address);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self {
            handle,
            address,
            watching,
        })
    }

    /// The address that it listens on, with the actual port if 0 was configured.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving.
    pub async fn stop(self) {
        self.watching.abort();
        self.handle.stop(false).await;
    }
}

/// A running server of a process that hosts no agents: `/health` and `/metrics`. It runs on a thread of
/// its own, with the same guards.
#[derive(Debug)]
pub struct PlainServer {
    handle: ServerHandle,
    address: SocketAddr,
}

/// What gives the text of `/metrics`.
type Text = Arc<dyn Fn() -> Result<String, std::fmt::Error> + Send + Sync>;

impl PlainServer {
    /// Starts serving.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no thread.
    pub fn start(
        config: &HttpConfig,
        metrics: impl Fn() -> Result<String, std::fmt::Error> + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let allowed: Arc<[HostName]> = config.allowed_hosts.clone().into();
        let (metrics, listen): (Text, _) = (Arc::new(metrics), config.listen);
        let connections = config.connections;
        let (started, starting) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("agentry-status".to_owned())
            .spawn(move || {
                actix_rt::System::new().block_on(async move {
                    let server = HttpServer::new(move || {
                        let allowed = Arc::clone(&allowed);
                        App::new()
                            .app_data(web::Data::new(Arc::clone(&metrics)))
                            .wrap(from_fn(move |request, next| {
                                access::guard(request, next, Arc::clone(&allowed))
                            }))
                            .wrap(access::headers())
                            .service(page("/health", reading().to(health)))
                            .service(page("/metrics", reading().to(plain_text)))
                    })
                    .workers(1)
                    .max_connections(connections)
                    .client_request_timeout(HEAD)
                    .keep_alive(KeepAlive::Timeout(KEEP))
                    .disable_signals()
                    .shutdown_timeout(1)
                    .bind(listen);
                    let server = match server {
                        Ok(server) => server,
                        Err(error) => {
                            // Who started it waits for this.
                            let _ = started.send(Err(error));
                            return;
                        }
                    };
                    let address = server.addrs().first().copied().unwrap_or(listen);
                    let server = server.run();
                    let handle = server.handle();
                    let _ = started.send(Ok(Self { handle, address }));
                    if let Err(error) = server.await {
                        tracing::error!(%error, "health and metrics are served no longer");
                    }
                });
            })?;
        starting
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("its thread has ended")))
    }

    /// The address that it listens on, with the actual port if 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

async fn plain_text(request: HttpRequest, metrics: web::Data<Text>) -> HttpResponse {
    answer_text(&request, (metrics.get_ref())())
}

/// A page, with the answer to any other method.
fn page(path: &str, route: Route) -> Resource {
    web::resource(path)
        .route(route)
        .default_service(web::to(only_read))
}

/// GET, and HEAD, to which actix answers the same without the body.
fn reading() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn only_read(method: Method) -> HttpResponse {
    let mut answer = if method == Method::OPTIONS {
        HttpResponse::NoContent()
    } else {
        HttpResponse::MethodNotAllowed()
    };
    answer
        .insert_header((header::ALLOW, "GET, HEAD, OPTIONS"))
        .finish()
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

async fn ready(metrics: web::Data<Metrics>) -> HttpResponse {
    let condition = metrics.condition();
    if condition.ready {
        HttpResponse::Ok().json(condition)
    } else {
        HttpResponse::ServiceUnavailable().json(condition)
    }
}

async fn text(request: HttpRequest, metrics: web::Data<Metrics>) -> HttpResponse {
    answer_text(&request, metrics.encode())
}

fn answer_text(request: &HttpRequest, text: Result<String, std::fmt::Error>) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT);
    let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
    match text {
        Ok(text) => HttpResponse::Ok()
            .content_type(format.media_type())
            .body(format.of(text)),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::config::ConsoleAccess;

    /// The answer to a request without a body: its status line, its headers, and its body.
    fn ask(address: SocketAddr, method: &str, path: &str) -> (String, String, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        (status.to_owned(), headers.to_lowercase(), body.to_owned())
    }

    #[actix_rt::test]
    async fn pages_are_read_with_get_and_head_and_not_otherwise() {
        let config = HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            allowed_hosts: Vec::new(),
            connections: 16,
            streams: 1,
            console: ConsoleAccess::Off,
        };
        let metrics = Arc::new(Metrics::new());
        let api = Api::new(tokio::runtime::Handle::current(), &config);
        let server = StatusServer::start(&config, metrics, api).unwrap();
        let address = server.address();
        let asked = actix_rt::task::spawn_blocking(move || {
            for (path, status) in [("/health", "200"), ("/ready", "503"), ("/metrics", "200")] {
                let got = ask(address, "GET", path);
                assert!(got.0.contains(status) && !got.2.is_empty(), "{got:?}");
                let length = format!("content-length: {}", got.2.len());
                let head = ask(address, "HEAD", path);
                assert!(head.0.contains(status), "{head:?}");
                assert!(head.1.contains(&length), "as GET would answer: {head:?}");
                assert_eq!(head.2, "");
                for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
                    let refused = ask(address, method, path);
                    assert!(refused.0.contains("405"), "{method}: {refused:?}");
                    assert!(refused.1.contains("allow: get, head"), "{refused:?}");
                }
                let options = ask(address, "OPTIONS", path);
                assert!(
                    options.0.contains("204") && options.1.contains("allow: "),
                    "{options:?}"
                );
            }
            assert!(ask(address, "GET", "/other").0.contains("404"));
            assert!(ask(address, "HEAD", "/").0.contains("404"));
        });
        asked.await.unwrap();
        server.stop().await;
    }
}
