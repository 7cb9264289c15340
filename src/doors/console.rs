//! The web console, at `/`: pages for operators, over the same operations as the API.
//!
//! | part | holds |
//! |---|---|
//! | `assets` | the files that are served: they are part of the binary |
//! | [`sessions`] | who is signed in |
//!
//! `POST /console/login` trades a one-time code of `agentry ui` for a session. With it, the API takes
//! requests without a token: the cookie and the page's key are presented together, a page of another
//! origin is refused, and what changes something must name its origin.

mod assets;
pub mod sessions;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::api::{Api, answer, request};
use super::error::{DoorError, ErrorCode};
use sessions::{Proof, Session};

/// The header with the page's key.
pub const KEY_HEADER: &str = "x-agentry-console";

/// What a page of the console may load: its own files, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Adds the console to a server.
pub fn configure(services: &mut web::ServiceConfig) {
    for asset in assets::ALL {
        let serve = move |request: HttpRequest| async move { file(asset, &request) };
        services.service(
            web::resource(asset.path)
                .route(web::get().to(serve))
                .route(web::head().to(serve))
                .default_service(web::to(|| async { answer::wrong_method("GET, HEAD") })),
        );
    }
    let only_post = || async { answer::wrong_method("POST") };
    let only_get = || async { answer::wrong_method("GET") };
    services
        .service(
            web::resource("/console/login")
                .route(web::post().to(login))
                .default_service(web::to(only_post)),
        )
        .service(
            web::resource("/console/logout")
                .route(web::post().to(logout))
                .default_service(web::to(only_post)),
        )
        .service(
            web::resource("/console/session")
                .route(web::get().to(session))
                .default_service(web::to(only_get)),
        );
}

/// A file. A browser keeps it, and asks each time whether it is still the same.
fn file(asset: &assets::Asset, request: &HttpRequest) -> HttpResponse {
    let tag = asset.tag();
    let known = request.headers().get_all(header::IF_NONE_MATCH);
    let mut known = known.filter_map(|value| value.to_str().ok());
    let is_known = known.any(|known| known.split(',').any(|one| one.trim() == tag));
    let mut response = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ))
        .insert_header((
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
        ));
    match is_known {
        true => response.finish(),
        false => response.content_type(asset.media_type).body(asset.bytes),
    }
}

/// The body of `POST /console/login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    code: String,
}

async fn login(api: web::Data<Api>, request: HttpRequest, body: Payload) -> HttpResponse {
    match sign_in(&api, &request, body).await {
        Ok(response) => response,
        Err(error) => {
            answer::log(&error, "console_login");
            answer::error(&error)
        }
    }
}

async fn sign_in(
    api: &Api,
    request: &HttpRequest,
    body: Payload,
) -> Result<HttpResponse, DoorError> {
    check_own_page(request)?;
    let body = request::body_of_type(request, body, &["application/json"]).await?;
    let login: Login = serde_json::from_slice(&body)
        .map_err(|_| DoorError::invalid("the body is an object with the `code`"))?;
    let failed =
        |error| DoorError::new(ErrorCode::Internal, "nobody can sign in now").with_detail(error);
    let sessions = api.console();
    let signed_in = sessions.sign_in(&login.code).map_err(failed)?;
    let signed_in = signed_in.ok_or_else(|| {
        let message = "the code is not valid, or was used: `agentry ui` makes another";
        DoorError::new(ErrorCode::Unauthenticated, message)
    })?;
    tracing::info!(read_only = signed_in.read_only, "signed in to the console");
    let age = sessions::SESSION_LIFE.as_secs();
    let cookie = cookie(api, request, signed_in.cookie.expose(), age);
    Ok(HttpResponse::Ok()
        .insert_header((header::SET_COOKIE, cookie))
        .json(json!({
            "key": signed_in.key.expose(),
            "read_only": signed_in.read_only,
        })))
}

/// The session as a cookie. Behind a proxy with TLS, it is never sent without.
fn cookie(api: &Api, request: &HttpRequest, value: &str, age: u64) -> String {
    let name = api.console().cookie_name();
    let origin = request.headers().get(header::ORIGIN);
    let secure = match origin.is_some_and(|origin| origin.as_bytes().starts_with(b"https://")) {
        true => "; Secure",
        false => "",
    };
    format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

async fn logout(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    let ended = check_own_page(&request).and_then(|()| proof(&api, &request));
    match ended {
        Ok(proof) => {
            api.console().sign_out(&proof);
            HttpResponse::NoContent()
                .insert_header((header::SET_COOKIE, cookie(&api, &request, "", 0)))
                .finish()
        }
        Err(error) => answer::error(&error),
    }
}

/// What the page asks when it is loaded: whether its session goes on.
async fn session(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    match of(&api, &request) {
        Ok((_, session)) => HttpResponse::Ok().json(json!({
            "read_only": session.read_only,
            "left_ms": u64::try_from(session.left.as_millis()).unwrap_or(u64::MAX),
            "version": env!("CARGO_PKG_VERSION"),
        })),
        Err(error) => answer::error(&error),
    }
}

/// Whether a request presents the cookie of the console.
pub(super) fn is_signed_in(api: &Api, request: &HttpRequest) -> bool {
    api.console().is_on() && cookie_of(api, request).is_some()
}

/// The session that a request presents. A page of this server sends it: others cannot set the header
/// with the key.
///
/// # Errors
/// There is no such session; another page sends the request.
pub(super) fn of(api: &Api, request: &HttpRequest) -> Result<(Proof, Session), DoorError> {
    let proof = proof(api, request)?;
    let session = api.console().session(&proof);
    let session = session.ok_or_else(|| {
        let message = "the session has ended: `agentry ui` begins another";
        DoorError::new(ErrorCode::Unauthenticated, message)
    })?;
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin") {
        return Err(another_page());
    }
    if !request.method().is_safe() {
        check_own_page(request)?;
    }
    Ok((proof, session))
}

fn proof(api: &Api, request: &HttpRequest) -> Result<Proof, DoorError> {
    let missing = || {
        let message = "sign in: `agentry ui` opens the console";
        DoorError::new(ErrorCode::Unauthenticated, message)
    };
    let cookie = cookie_of(api, request).ok_or_else(missing)?;
    let mut keys = request.headers().get_all(KEY_HEADER);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(missing());
    };
    let key = key.to_str().map_err(|_| missing())?;
    Ok(Proof::of(cookie, key))
}

/// The cookie of the console; `None` if there is none, or more than one.
fn cookie_of<'a>(api: &Api, request: &'a HttpRequest) -> Option<&'a str> {
    let name = api.console().cookie_name();
    let headers = request.headers().get_all(header::COOKIE);
    let headers = headers.filter_map(|value| value.to_str().ok());
    let pairs = headers.flat_map(|all| all.split(';'));
    let mut ours = pairs.filter_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    });
    match (ours.next(), ours.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Checks that a page of this server sends a request. That its origin is ours if it names one was
/// [checked](super::api::access::guard) before.
fn check_own_page(request: &HttpRequest) -> Result<(), DoorError> {
    match request.headers().contains_key(header::ORIGIN) {
        true => Ok(()),
        false => Err(another_page()),
    }
}

fn another_page() -> DoorError {
    let message = "only a page of the console sends this request";
    DoorError::new(ErrorCode::NotAllowed, message)
}
