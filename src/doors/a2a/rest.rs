//! The binding of HTTP and JSON.

use std::collections::HashMap;

use a2a::{
    A2AError, CancelTaskRequest, DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest,
    ListTasksRequest, Task, TaskPushNotificationConfig, error_reason, errordetails,
};
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::super::api::Api;
use super::super::api::request::percent_decoded;
use super::{CallError, MEDIA_TYPE, Session, body, calls, card, push, rpc, watch};

/// Adds the paths of an agent.
pub fn configure(services: &mut web::ServiceConfig) {
    let push = "/tasks/{id}/pushNotificationConfigs";
    services
        .service(web::resource("/message:send").route(web::post().to(send)))
        .service(web::resource("/message:stream").route(web::post().to(send_streaming)))
        .service(web::resource("/tasks").route(web::get().to(list)))
        .service(web::resource("/tasks/{id}:cancel").route(web::post().to(cancel)))
        .service(
            web::resource("/tasks/{id}:subscribe")
                .route(web::get().to(subscribe))
                .route(web::post().to(subscribe)),
        )
        .service(
            web::resource(push)
                .route(web::get().to(list_pushes))
                .route(web::post().to(create_push)),
        )
        .service(
            web::resource(format!("{push}/{{config}}"))
                .route(web::get().to(get_push))
                .route(web::delete().to(delete_push)),
        )
        .service(web::resource("/tasks/{id}").route(web::get().to(get)))
        .service(web::resource("/extendedAgentCard").route(web::get().to(extended)));
}

/// A task of the agent, with what was asked.
///
/// # Errors
/// There is no such task, or the caller may not see it.
pub(super) async fn task(session: &Session, id: &str) -> Result<Task, CallError> {
    let wanted = GetTaskRequest {
        id: id.to_owned(),
        history_length: None,
        tenant: None,
    };
    calls::get_task(session, &wanted).await
}

async fn send(api: web::Data<Api>, request: HttpRequest, payload: Payload) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let message = read(&request, payload).await?;
        success(&calls::send_message(&session, message).await?)
    })
    .await
}

async fn send_streaming(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let begun = calls::begin(&session, &read(&request, payload).await?).await?;
        watch::stream(&api, session, begun, &request, Box::new(rpc::frame)).await
    })
    .await
}

async fn subscribe(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let begun = rpc::watched(&session, id(&request)?).await?;
        watch::stream(&api, session, begun, &request, Box::new(rpc::frame)).await
    })
    .await
}

async fn get(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let wanted: GetTaskRequest = query(&request, &[("id", id(&request)?.into())])?;
        success(&calls::get_task(&session, &wanted).await?)
    })
    .await
}

async fn list(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let wanted: ListTasksRequest = query(&request, &[])?;
        success(&calls::list_tasks(&session, &wanted).await?)
    })
    .await
}

async fn cancel(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let wanted = CancelTaskRequest {
            id: id(&request)?,
            metadata: None,
            tenant: None,
        };
        success(&calls::cancel_task(&session, &wanted).await?)
    })
    .await
}

async fn extended(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        drop(Session::of(&api, &request).await?);
        success(&card::extended(&api, &request).await?)
    })
    .await
}

async fn create_push(api: web::Data<Api>, request: HttpRequest, payload: Payload) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let given: TaskPushNotificationConfig = read(&request, payload).await?;
        let given = TaskPushNotificationConfig {
            task_id: id(&request)?,
            ..given
        };
        success(&push::create(&session, &given).await?)
    })
    .await
}

async fn list_pushes(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let wanted: ListTaskPushNotificationConfigsRequest =
            query(&request, &[("taskId", id(&request)?.into())])?;
        success(&push::list(&session, &wanted).await?)
    })
    .await
}

async fn get_push(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let wanted = GetTaskPushNotificationConfigRequest {
            task_id: id(&request)?,
            id: part(&request, "config")?,
            tenant: None,
        };
        success(&push::get(&session, &wanted).await?)
    })
    .await
}

async fn delete_push(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    answered(async {
        let session = Session::of(&api, &request).await?;
        let wanted = DeleteTaskPushNotificationConfigRequest {
            task_id: id(&request)?,
            id: part(&request, "config")?,
            tenant: None,
        };
        push::delete(&session, &wanted).await?;
        success(&json!({}))
    })
    .await
}

/// The id in the path.
fn id(request: &HttpRequest) -> Result<String, CallError> {
    part(request, "id")
}

/// A part of the path.
fn part(request: &HttpRequest, name: &str) -> Result<String, CallError> {
    let part = request.match_info().get(name).unwrap_or_default();
    Ok(percent_decoded(part)?)
}

/// The parameters in the query, and those given.
fn query<T: serde::de::DeserializeOwned>(
    request: &HttpRequest,
    more: &[(&str, Value)],
) -> Result<T, CallError> {
    let mut wanted = serde_json::Map::new();
    for (name, text) in form_urlencoded::parse(request.query_string().as_bytes()) {
        let value = match &*name {
            "pageSize" | "historyLength" => {
                let number = text.parse::<i32>();
                let wrong = |_| A2AError::invalid_params(format!("`{name}` is a whole number"));
                json!(number.map_err(wrong)?)
            }
            "includeArtifacts" => {
                let wrong = |_| A2AError::invalid_params(format!("`{name}` is true or false"));
                json!(text.parse::<bool>().map_err(wrong)?)
            }
            _ => json!(text),
        };
        wanted.insert(name.into_owned(), value);
    }
    for (name, value) in more {
        wanted.insert((*name).to_owned(), value.clone());
    }
    serde_json::from_value(Value::Object(wanted))
        .map_err(|error| A2AError::invalid_params(error.to_string()).into())
}

async fn read<T: serde::de::DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
) -> Result<T, CallError> {
    let bytes = body(request, payload).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| A2AError::invalid_params(error.to_string()).into())
}

fn success(result: &impl Serialize) -> Result<HttpResponse, CallError> {
    Ok(HttpResponse::Ok().content_type(MEDIA_TYPE).json(result))
}

async fn answered(answer: impl Future<Output = Result<HttpResponse, CallError>>) -> HttpResponse {
    answer.await.unwrap_or_else(|failed| failure(&failed))
}

/// An error as the specification of the binding says: that of google.rpc.Status.
fn failure(failed: &CallError) -> HttpResponse {
    let status = StatusCode::from_u16(failed.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let word = match failed.status {
        400 | 413 | 415 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "FAILED_PRECONDITION",
        429 => "RESOURCE_EXHAUSTED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        408 | 504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    let info = errordetails::TypedDetail::error_info(
        error_reason(failed.error.code),
        errordetails::PROTOCOL_DOMAIN,
        Some(HashMap::new()),
    );
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"agentry\""));
    }
    response.json(json!({
        "error": {
            "code": failed.status,
            "status": word,
            "message": failed.error.message,
            "details": [info],
        },
    }))
}
