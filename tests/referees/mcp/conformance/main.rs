//! The product's MCP server with the tools, resources and prompts that MCP's conformance suite calls
//! by name. It prints its address, and serves until its standard input ends.
//!
//! ```text
//! cargo run --example conformance
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`fixtures`] | the handler: the product's, with what follows |
//! | [`tools`] | tools that answer at once |
//! | [`inputs`] | tools that ask the client for something |
//! | [`jobs`] | tools that answer with a task |
//! | [`contents`] | resources and prompts |

#![expect(
    deprecated,
    reason = "the suite asks for sampling, roots and logging, which older revisions have"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that is wrong is a defect of the test"
)]
#![expect(clippy::print_stdout, reason = "whoever starts it reads its address")]

mod contents;
mod fixtures;
mod inputs;
mod jobs;
mod tools;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use agentry::config::{BUILT_IN, Config, Overlay, Source};
use agentry::doors::mcp::McpServer;
use agentry::doors::mcp::access::Options;
use agentry::doors::mcp::http::{Admitted, Endpoint};
use agentry_devnet::check_host;
use agentry_store::Store;

use fixtures::Fixtures;

type Served = web::Data<Endpoint<Fixtures>>;

#[actix_rt::main]
async fn main() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let fixtures = Fixtures::new(product(folder.path()));
    let endpoint = web::Data::new(Endpoint::new(move || fixtures.clone()));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(endpoint.clone())
            .wrap(from_fn(check_host))
            .service(web::resource("/mcp").to(answer))
    })
    .workers(1)
    .shutdown_timeout(1)
    .bind(("127.0.0.1", 0))?;
    let address = server.addrs()[0];
    println!("http://{address}/mcp");
    let server = server.run();
    let handle = server.handle();
    // Whoever started this process ends it by closing its standard input.
    let ended = actix_rt::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    actix_rt::spawn(async move {
        drop(ended.await);
        handle.stop(false).await;
    });
    server.await
}

async fn answer(endpoint: Served, request: HttpRequest, body: web::Payload) -> HttpResponse {
    let anybody = Admitted {
        name: "anybody",
        rights: (),
        until: std::future::pending(),
    };
    endpoint.answer(anybody, &request, body).await
}

/// The product's handler, with an empty store.
fn product(folder: &Path) -> McpServer {
    let source = Source::Text {
        path: folder.join("agents.toml"),
        text: BUILT_IN.to_owned(),
    };
    let config = Config::load(&source, &Overlay::default(), &agentry::builtins()).unwrap();
    drop(Store::open(&config.store.path).unwrap());
    McpServer::local(Arc::new(config), Options::default())
}
