//! The binding of JSON-RPC 2.0: every operation is a POST to the agent's URL.

use a2a::{
    A2AError, JsonRpcId, JsonRpcRequest, JsonRpcResponse, StreamResponse, SubscribeToTaskRequest,
    methods,
};
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::api::Api;
use super::calls::{self, Begun};
use super::{CallError, Session, body, card, push, rest, watch};

/// Serves a call.
pub async fn serve(api: web::Data<Api>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let mut id = JsonRpcId::Null;
    match answer(&api, &request, payload, &mut id).await {
        Ok(response) => response,
        Err(failed) => failure(id, &failed),
    }
}

/// Who may not call at all learns it from the status; other errors are answers.
fn failure(id: JsonRpcId, failed: &CallError) -> HttpResponse {
    let status = match failed.status {
        401 | 403 | 408 | 413 | 415 | 429 | 503 => failed.status,
        _ => 200,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"agentry\""));
    }
    response.json(JsonRpcResponse::error(id, failed.error.to_jsonrpc_error()))
}

async fn answer(
    api: &Api,
    request: &HttpRequest,
    payload: Payload,
    id: &mut JsonRpcId,
) -> Result<HttpResponse, CallError> {
    let session = Session::of(api, request).await?;
    let bytes = body(request, payload).await?;
    let call: Value = serde_json::from_slice(&bytes)
        .map_err(|error| A2AError::parse_error(format!("the body is not JSON: {error}")))?;
    if let Some(given) = call.get("id") {
        let given = serde_json::from_value(given.clone());
        *id = given.map_err(|_| A2AError::invalid_request("`id` is a text or a whole number"))?;
    }
    let call: JsonRpcRequest = serde_json::from_value(call)
        .map_err(|error| A2AError::invalid_request(format!("no call of JSON-RPC: {error}")))?;
    if call.jsonrpc != "2.0" {
        return Err(A2AError::invalid_request("`jsonrpc` is \"2.0\"").into());
    }
    let params = call
        .params
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let id = id.clone();
    let framed = {
        let id = id.clone();
        move |update: &StreamResponse| {
            let result = serde_json::to_value(update).unwrap_or_default();
            frame(&JsonRpcResponse::success(id.clone(), result))
        }
    };
    match call.method.as_str() {
        methods::SEND_MESSAGE => {
            let sent = calls::send_message(&session, read(params)?).await?;
            success(id, &sent)
        }
        methods::SEND_STREAMING_MESSAGE => {
            let begun = calls::begin(&session, &read(params)?).await?;
            watch::stream(api, session, begun, request, Box::new(framed)).await
        }
        methods::SUBSCRIBE_TO_TASK => {
            let wanted: SubscribeToTaskRequest = read(params)?;
            let begun = watched(&session, wanted.id).await?;
            watch::stream(api, session, begun, request, Box::new(framed)).await
        }
        methods::GET_TASK => success(id, &calls::get_task(&session, &read(params)?).await?),
        methods::LIST_TASKS => success(id, &calls::list_tasks(&session, &read(params)?).await?),
        methods::CANCEL_TASK => success(id, &calls::cancel_task(&session, &read(params)?).await?),
        methods::GET_EXTENDED_AGENT_CARD => success(id, &card::extended(api, request).await?),
        methods::CREATE_PUSH_CONFIG => success(id, &push::create(&session, &read(params)?).await?),
        methods::GET_PUSH_CONFIG => success(id, &push::get(&session, &read(params)?).await?),
        methods::LIST_PUSH_CONFIGS => success(id, &push::list(&session, &read(params)?).await?),
        methods::DELETE_PUSH_CONFIG => {
            push::delete(&session, &read(params)?).await?;
            success(id, &Value::Object(serde_json::Map::new()))
        }
        other => Err(A2AError::method_not_found(other).into()),
    }
}

/// A task that can be watched: one that has not ended.
///
/// # Errors
/// There is no such task, or it has ended.
pub(super) async fn watched(session: &Session, id: String) -> Result<Begun, CallError> {
    let task = rest::task(session, &id).await?;
    match task.status.state.is_terminal() {
        true => Err(calls::ended(&id)),
        false => match calls::job(session, &id, 0).await {
            Ok(_) => Ok(Begun::Job(id)),
            Err(_) => Ok(Begun::Talk { id, context: None }),
        },
    }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, A2AError> {
    serde_json::from_value(params).map_err(|error| A2AError::invalid_params(error.to_string()))
}

fn success(id: JsonRpcId, result: &impl Serialize) -> Result<HttpResponse, CallError> {
    let result = serde_json::to_value(result);
    let result = result.map_err(|error| A2AError::internal(error.to_string()))?;
    Ok(HttpResponse::Ok().json(JsonRpcResponse::success(id, result)))
}

/// A server-sent event.
pub(super) fn frame(data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("data: {data}\n\n")
}
