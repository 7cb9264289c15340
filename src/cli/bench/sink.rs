//! A node that accepts everything at once: it answers a POST with the transaction's hash, and keeps
//! only the count. What remains is the runtime's own work, HTTP included.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use agentry_devnet::DevnetConfig;
use agentry_protocol::{Limits, SignedTransaction, genesis_hash};
use serde_json::json;

/// A running sink.
#[derive(Debug)]
pub(super) struct Sink {
    url: String,
    taken: Arc<AtomicU64>,
    server: ServerHandle,
}

impl Sink {
    /// Starts one on any free port. It says that it serves the chain of the benchmarks: the runtime
    /// posts only to a node of the chain that it reads.
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Data::from(Arc::clone(&taken));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(Data::clone(&counter))
                .route("/rpc/transaction", web::post().to(take))
                .route("/rpc/mempool", web::get().to(mempool))
                .default_service(web::to(block))
        });
        let server = server.workers(1).disable_signals().listen(listener)?.run();
        let handle = server.handle();
        std::thread::spawn(move || actix_rt::System::new().block_on(server));
        Ok(Self {
            url,
            taken,
            server: handle,
        })
    }

    /// Its URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How many transactions it accepted.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It is told at once; nobody waits until it has ended.
        drop(self.server.stop(false));
    }
}

async fn take(taken: Data<AtomicU64>, body: Bytes) -> HttpResponse {
    match SignedTransaction::from_body(&body, Limits::default()) {
        Ok(signed) => {
            taken.fetch_add(1, Ordering::Relaxed);
            let hash = signed.hash().to_string();
            HttpResponse::Ok().json(json!({ "success": true, "transaction_hash": hash }))
        }
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

async fn mempool() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "success": true, "transactions": [], "count": 0 }))
}

/// The answer to every other question: block 0.
async fn block() -> HttpResponse {
    let hash = genesis_hash(&DevnetConfig::default().chain_id).to_string();
    let block = json!({
        "height": 0, "hash": hash, "parent_hash": "0x00", "proposer": "genesis",
        "timestamp": "2025-01-01T00:00:00", "tx_count": 0, "transactions": [],
    });
    let mut answer = block.clone();
    answer["blocks"] = json!([block]);
    HttpResponse::Ok().json(answer)
}
