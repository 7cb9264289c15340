//! Answers in FastAPI's form.

use std::fmt::Display;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use agentry_protocol::isoformat;

use crate::chain::ChainError;
use crate::chain::blocks::BlockRow;
use crate::node::Node;
use crate::text::{ObjectText, quoted};

/// An answer that ends a handler early. Boxed to keep a handler's `Result` small.
#[derive(Debug)]
pub(crate) struct Early(Box<HttpResponse>);

impl From<HttpResponse> for Early {
    fn from(answer: HttpResponse) -> Early {
        Early(Box::new(answer))
    }
}

/// A JSON answer.
pub(crate) fn json(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(text)
}

/// An error answer: `{"detail": "…"}`.
pub(crate) fn detail(status: u16, detail: impl Display) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = ObjectText::new()
        .string("detail", &detail.to_string())
        .end();
    HttpResponse::build(status)
        .content_type("application/json")
        .body(text)
}

/// An error answer that asks the client to try again later.
pub(crate) fn busy(status: u16, why: impl Display) -> HttpResponse {
    let mut answer = detail(status, why);
    answer.headers_mut().insert(
        actix_web::http::header::RETRY_AFTER,
        actix_web::http::header::HeaderValue::from_static("1"),
    );
    answer
}

/// 429, as a node of August 2026 answers whoever calls too often.
pub(crate) fn rate_limited() -> HttpResponse {
    let mut answer = detail(429, "Rate limit exceeded");
    answer.headers_mut().insert(
        actix_web::http::header::RETRY_AFTER,
        actix_web::http::header::HeaderValue::from_static("60"),
    );
    answer
}

/// 422, in the form of FastAPI's validation errors.
pub(crate) fn unprocessable(kind: &str, place: [&str; 2], message: impl Display) -> HttpResponse {
    let place = format!("[{},{}]", quoted(place[0]), quoted(place[1]));
    let item = ObjectText::new()
        .string("type", kind)
        .raw("loc", &place)
        .string("msg", &message.to_string())
        .end();
    let text = ObjectText::new().list("detail", [item]).end();
    HttpResponse::UnprocessableEntity()
        .content_type("application/json")
        .body(text)
}

/// 422 for a body that is not JSON.
pub(crate) fn not_json(error: impl Display) -> HttpResponse {
    let message = format!("JSON decode error: {error}");
    unprocessable("json_invalid", ["body", "0"], message)
}

/// Adds the header of a block, without what only some dialects show.
pub(crate) fn header(text: ObjectText, block: &BlockRow) -> ObjectText {
    text.plain("height", block.height)
        .string("hash", &block.hash)
        .string("parent_hash", &block.parent_hash)
        .string("proposer", &block.proposer)
        .string("timestamp", &isoformat(&block.timestamp))
        .plain("tx_count", block.tx_count)
}

/// 422 for fields of a body.
pub(crate) fn invalid(fields: &[&str], kind: &str, message: &str) -> HttpResponse {
    let items = fields.iter().map(|field| {
        ObjectText::new()
            .string("type", kind)
            .raw("loc", &format!("[\"body\",{}]", quoted(field)))
            .string("msg", message)
            .raw("input", "null")
            .end()
    });
    let text = ObjectText::new().list("detail", items).end();
    HttpResponse::UnprocessableEntity()
        .content_type("application/json")
        .body(text)
}

/// The answer when this node's own database fails.
pub(crate) fn failed(error: &ChainError) -> HttpResponse {
    tracing::error!(%error, "the chain's database failed");
    if error.is_transient() {
        busy(503, error)
    } else {
        detail(500, error)
    }
}

/// Runs a database job off the arbiter.
pub(crate) async fn blocking<T: Send + 'static>(
    node: &web::Data<Node>,
    job: impl FnOnce(&Node) -> T + Send + 'static,
) -> Result<T, Early> {
    let node: Arc<Node> = node.clone().into_inner();
    web::block(move || job(&node))
        .await
        .map_err(|_| detail(500, "the database's thread ended").into())
}

/// Runs a reading job off the arbiter, on one snapshot of chain.db.
pub(crate) async fn reading<T: Send + 'static>(
    node: &web::Data<Node>,
    job: impl FnOnce(&rusqlite::Connection, &str) -> Result<T, ChainError> + Send + 'static,
) -> Result<T, Early> {
    blocking(node, move |node| node.read(job))
        .await?
        .map_err(|error| failed(&error).into())
}

/// The answer from either arm of a handler that may end early.
pub(crate) fn either(result: Result<HttpResponse, Early>) -> HttpResponse {
    result.unwrap_or_else(|early| *early.0)
}
