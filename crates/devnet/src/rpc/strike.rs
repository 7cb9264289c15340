//! Faults of the network and of the server as a whole, before and after every `/rpc` call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, web};

use super::answer;
use crate::node::{Node, add, lock};

/// Applies the faults that strike; otherwise passes the request on.
pub(crate) async fn strike(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(node) = request.app_data::<web::Data<Node>>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    add(&node.counters.rpc_requests, 1);
    if node.strikes("hang") {
        // Waits until the client disconnects or the node stops.
        std::future::pending::<()>().await;
    }
    if node.strikes("error-500") {
        return Ok(request.into_response(answer::detail(500, "Internal Server Error")));
    }
    if node.strikes("error-429") {
        return Ok(request.into_response(answer::busy(429, "Rate limit exceeded")));
    }
    let posts = request.method() == Method::POST;
    if node.faults.is_set("rate-limits") && !lock(&node.calls).take(posts, request.path()) {
        add(&node.counters.rate_limited, 1);
        return Ok(request.into_response(answer::rate_limited()));
    }
    let response = next.call(request).await?.map_into_boxed_body();
    if posts && node.strikes("lose-answer") {
        return Ok(response.map_body(|_, _| BoxBody::new(Severed)));
    }
    Ok(response)
}

/// The answer to a request that must get no answer: actix-web drops the connection, without sending
/// headers, when a body fails at its first chunk.
struct Severed;

#[derive(Debug)]
struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fault: lose-answer")
    }
}

impl std::error::Error for Lost {}

impl MessageBody for Severed {
    type Error = Lost;

    fn size(&self) -> BodySize {
        BodySize::Sized(1)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<web::Bytes, Lost>>> {
        Poll::Ready(Some(Err(Lost)))
    }
}
