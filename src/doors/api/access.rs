//! Which requests are served at all, and who calls.
//!
//! A page of any site can make a visitor's browser send requests to this machine. Such a request names
//! the site as its host, if the site's own name was made to resolve to this machine, or as its origin.
//! Both are refused, whatever is asked for.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::uri::Authority;
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, HttpRequest};
use agentry_devnet::is_loopback;

use super::super::error::{DoorError, ErrorCode};
use super::answer;
use crate::config::HostName;

/// Refuses a request that names another host than this machine's loopback and the allowed hosts, with
/// 421, and one that a page of another origin sends, with 403. A request without a host, as HTTP/1.0
/// allows, does not come from a browser.
///
/// # Errors
/// Those of the wrapped service.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    allowed: Arc<[HostName]>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let named = request
        .headers()
        .get_all(header::HOST)
        .map(|host| host.to_str().unwrap_or_default())
        .chain(request.uri().authority().map(Authority::as_str));
    let is_ours = |host: &str| is_loopback(host) || allowed.iter().any(|name| name.is(host));
    let refused = if !named.clone().all(is_ours) {
        let message = "this server answers only requests to localhost, to loopback addresses and to \
                       `http.allowed_hosts`; a proxy in front of it must send one of them as `Host`";
        Some(answer::problem(421, ErrorCode::NotAllowed, message))
    } else if !is_same_origin(request.headers(), named.clone().next()) {
        let message = "a page of another origin sent this request";
        Some(answer::problem(403, ErrorCode::NotAllowed, message))
    } else {
        None
    };
    match refused {
        Some(response) => Ok(request.into_response(response)),
        None => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

/// Whether no page sent a request, or one of this host did.
fn is_same_origin(headers: &HeaderMap, host: Option<&str>) -> bool {
    headers.get_all(header::ORIGIN).all(|origin| {
        let origin = origin.to_str().ok();
        let authority = origin.and_then(|origin| Some(origin.split_once("://")?.1));
        match (authority, host) {
            (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
            _ => false,
        }
    })
}

/// The headers of every response: a browser neither guesses what it is, nor shows it in a frame, nor
/// keeps it.
pub fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((header::CACHE_CONTROL, "no-store"))
        .add((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ))
        .add((header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
}

/// The secret that a request presents.
///
/// # Errors
/// It presents none, or several.
pub fn secret(request: &HttpRequest) -> Result<&str, DoorError> {
    let wanted = || {
        let message = "a token is needed: `Authorization: Bearer …`";
        DoorError::new(ErrorCode::Unauthenticated, message)
    };
    let mut given = request.headers().get_all(header::AUTHORIZATION);
    let (Some(given), None) = (given.next(), given.next()) else {
        return Err(wanted());
    };
    let given = given.to_str().map_err(|_| wanted())?;
    match given.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(secret.trim()),
        _ => Err(wanted()),
    }
}
