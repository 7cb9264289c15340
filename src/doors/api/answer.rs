//! Answers and errors of the API.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::error::{DoorError, ErrorCode};

/// The media type of an error.
pub const PROBLEM: &str = "application/problem+json";

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// The status of the response.
    pub status: u16,
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason, for people.
    pub message: String,
}

/// An answer.
pub fn json(status: u16, json: Vec<u8>) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    HttpResponse::build(status)
        .content_type("application/json")
        .body(json)
}

/// An error as a response.
pub fn error(error: &DoorError) -> HttpResponse {
    let code = error.code();
    let mut response = problem(code.status(), code, &error.to_string());
    if code == ErrorCode::Unauthenticated {
        let scheme = header::HeaderValue::from_static("Bearer realm=\"agentry\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// An error with a status of HTTP that no operation returns by itself.
pub fn problem(status: u16, code: ErrorCode, message: &str) -> HttpResponse {
    let http = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(http)
        .content_type(PROBLEM)
        .json(Problem {
            status,
            code,
            message: message.to_owned(),
        })
}

/// The response to a method that a path does not have.
pub fn wrong_method(allow: &str) -> HttpResponse {
    let mut response = problem(405, ErrorCode::Invalid, "this path has no such method");
    if let Ok(allow) = header::HeaderValue::from_str(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Writes what only the operator may see of an error to the log.
pub fn log(error: &DoorError, operation: &str) {
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        ErrorCode::Internal => {
            tracing::error!(operation, detail, "a request of the API failed");
        }
        code => tracing::debug!(
            operation,
            code = code.as_str(),
            detail,
            "a request of the API was refused"
        ),
    }
}
