//! The node's HTTP interface: AITBC's RPC, the calls that its node of April 2026 lacks, and the
//! calls under `/dev` for tests. It listens only on 127.0.0.1.

mod answer;
mod dev;
pub(crate) mod push;
mod query;
mod reads;
mod status;
mod strike;
mod writes;

use actix_web::{HttpResponse, Resource, Route, web};

/// The most bytes of a posted block: its transactions, each within its row.
const MAX_IMPORT: usize = 8 * 1024 * 1024;

/// A path that answers one method, and 405 to the others, as FastAPI does.
fn at(path: &str, route: Route) -> Resource {
    web::resource(path)
        .route(route)
        .default_service(web::to(method_not_allowed))
}

async fn method_not_allowed() -> HttpResponse {
    answer::detail(405, "Method Not Allowed")
}

pub(crate) async fn not_found() -> HttpResponse {
    answer::detail(404, "Not Found")
}

/// All routes.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    let rpc = web::scope("/rpc")
        .wrap(actix_web::middleware::from_fn(strike::strike))
        .service(at("/head", web::get().to(reads::head)))
        .service(at("/blocks/{height}", web::get().to(reads::block)))
        .service(at("/blocks-range", web::get().to(reads::blocks_range)))
        .service(at("/mempool", web::get().to(reads::mempool)))
        .service(at("/accounts/{address}", web::get().to(reads::account)))
        .service(at("/transactions", web::get().to(reads::transactions)))
        .service(at("/transaction/{hash}", web::get().to(reads::transaction)))
        .service(
            at("/transaction", web::post().to(writes::submit))
                .app_data(web::PayloadConfig::new(crate::rules::MAX_BODY)),
        )
        .service(
            at("/importBlock", web::post().to(writes::import_block))
                .app_data(web::PayloadConfig::new(MAX_IMPORT)),
        )
        .service(at("/subscribe", web::post().to(push::subscribe)))
        .service(at("/subscribe/ws", web::get().to(push::socket)))
        .service(at("/heartbeat", web::post().to(push::heartbeat)))
        .default_service(web::to(not_found));
    let dev = web::scope("/dev")
        .service(at("/faucet", web::post().to(dev::faucet)))
        .service(at("/credits", web::get().to(dev::credits)))
        .service(
            web::resource("/faults")
                .route(web::get().to(dev::faults))
                .route(web::post().to(dev::set_faults))
                .default_service(web::to(method_not_allowed)),
        )
        .service(at("/mine", web::post().to(dev::mine)))
        .service(at("/reorganise", web::post().to(dev::reorganise)))
        .default_service(web::to(not_found));
    config
        .service(rpc)
        .service(dev)
        .service(at("/openapi.json", web::get().to(reads::openapi)))
        .service(at("/health", web::get().to(status::health)))
        .service(at("/metrics", web::get().to(status::metrics)))
        .default_service(web::to(not_found));
}
