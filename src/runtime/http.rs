//! `/health`, `/ready` and `/metrics`, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, web};
use agentry_devnet::check_host;

use super::metrics::Metrics;

/// The media type of Prometheus' text format (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server that runs.
#[derive(Debug)]
pub struct StatusServer {
    handle: ServerHandle,
    address: SocketAddr,
}

impl StatusServer {
    /// Begins to serve. Must be called within an actix system.
    ///
    /// # Errors
    /// The address cannot be listened on; most often another process does.
    pub fn start(listen: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let metrics = web::Data::from(metrics);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(metrics.clone())
                .wrap(from_fn(check_host))
                .route("/health", web::get().to(health))
                .route("/ready", web::get().to(ready))
                .route("/metrics", web::get().to(text))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .bind(listen)?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { handle, address })
    }

    /// Where it listens; the port is the one that was found, where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
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

async fn text(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.encode() {
        Ok(text) => HttpResponse::Ok().content_type(OPEN_METRICS).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
