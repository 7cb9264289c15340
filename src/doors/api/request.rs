//! A request's path, query, headers and body as the request of an operation.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use actix_web::web::{Bytes, Payload};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::super::error::{DoorError, ErrorCode};
use super::routes::{ENDPOINTS, Endpoint, Verb, path_parameters};

/// The largest body: more than the largest prompt or message.
pub const MAX_BODY: usize = 2 << 20;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The header with the key of a request that is carried out once.
pub const KEY_HEADER: &str = "idempotency-key";

/// The property of a request that this header sets.
pub const KEY: &str = "key";

/// The type of a parameter in the path or the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Text,
    Integer,
    Boolean,
    List,
}

/// The properties of the request of each operation, by the operation's name.
static PROPERTIES: LazyLock<HashMap<&str, HashMap<String, Holds>>> = LazyLock::new(|| {
    let of_each = |endpoint: &Endpoint| {
        let schema = (endpoint.request)(&mut SchemaGenerator::default()).to_value();
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.into_iter().flatten();
        let holds = properties.map(|(name, schema)| (name.clone(), holds(schema)));
        (endpoint.name, holds.collect())
    };
    ENDPOINTS.iter().map(of_each).collect()
});

fn holds(schema: &Value) -> Holds {
    let is = |word: &str| match &schema["type"] {
        Value::String(one) => one == word,
        Value::Array(several) => several.iter().any(|one| one == word),
        _ => false,
    };
    if is("array") {
        Holds::List
    } else if is("integer") {
        Holds::Integer
    } else if is("boolean") {
        Holds::Boolean
    } else {
        Holds::Text
    }
}

/// Reads the request of an operation.
///
/// # Errors
/// It is not valid, too large, or too slow.
pub async fn read(
    endpoint: &Endpoint,
    request: &HttpRequest,
    body: Payload,
) -> Result<Map<String, Value>, DoorError> {
    let nothing = HashMap::new();
    let properties = PROPERTIES.get(endpoint.name).unwrap_or(&nothing);
    let in_path: Vec<&str> = path_parameters(endpoint.path).collect();
    let mut wanted = match endpoint.verb {
        Verb::Get => query(request.query_string(), properties)?,
        Verb::Post if !request.query_string().is_empty() => {
            return Err(DoorError::invalid(
                "this path has no parameters in the query",
            ));
        }
        Verb::Post => object(request, body).await?,
    };
    for name in in_path.iter().chain(&[KEY]) {
        if wanted.contains_key(*name) {
            let place = if *name == KEY {
                "the header Idempotency-Key"
            } else {
                "a part of the path"
            };
            return Err(DoorError::invalid(format!("`{name}` is {place}")));
        }
    }
    for name in in_path {
        let raw = request.match_info().get(name).unwrap_or_default();
        let text = percent_decoded(raw)?;
        wanted.insert(name.to_owned(), Value::String(text));
    }
    let key = request.headers().get(HeaderName::from_static(KEY_HEADER));
    if let Some(key) = key.filter(|_| properties.contains_key(KEY)) {
        let invalid = |_| DoorError::invalid("Idempotency-Key is not a text");
        let text = key.to_str().map_err(invalid)?;
        wanted.insert(KEY.to_owned(), Value::String(text.to_owned()));
    }
    Ok(wanted)
}

/// A part of a path without its escapes.
///
/// # Errors
/// It has a wrong escape, or is not UTF-8.
pub fn percent_decoded(text: &str) -> Result<String, DoorError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let byte = match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
                _ => None,
            },
            byte => Some(byte),
        };
        decoded.push(byte.ok_or_else(|| DoorError::invalid("the path has a wrong escape"))?);
    }
    String::from_utf8(decoded).map_err(|_| DoorError::invalid("the path is not UTF-8"))
}

fn query(text: &str, properties: &HashMap<String, Holds>) -> Result<Map<String, Value>, DoorError> {
    let mut wanted = Map::new();
    for (name, text) in form_urlencoded::parse(text.as_bytes()) {
        let value = match properties.get(&*name) {
            None => {
                return Err(DoorError::invalid(format!(
                    "there is no parameter {name:?}"
                )));
            }
            Some(Holds::List) => {
                let list = wanted
                    .entry(name.into_owned())
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(Value::String(text.into_owned()));
                }
                continue;
            }
            Some(Holds::Integer) => text.parse::<u64>().map_or(Value::Null, Value::from),
            Some(Holds::Boolean) => text.parse::<bool>().map_or(Value::Null, Value::from),
            Some(Holds::Text) => Value::String(text.into_owned()),
        };
        if value.is_null() {
            return Err(DoorError::invalid(format!("`{name}` has a wrong value")));
        }
        if wanted.insert(name.clone().into_owned(), value).is_some() {
            return Err(DoorError::invalid(format!("`{name}` is given twice")));
        }
    }
    Ok(wanted)
}

/// The body of a request.
///
/// # Errors
/// It is too large, too slow, or cut.
pub async fn body(request: &HttpRequest, body: Payload) -> Result<Bytes, DoorError> {
    let late = |_| DoorError::new(ErrorCode::TooSlow, "the body did not arrive in time");
    let too_large = || {
        let message = format!("the body has more than {MAX_BODY} bytes");
        DoorError::new(ErrorCode::TooLarge, message)
    };
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_PATIENCE, body.to_bytes_limited(MAX_BODY)).await;
    let bytes = read.map_err(late)?.map_err(|_| too_large())?;
    bytes.map_err(|_| DoorError::invalid("the body is cut"))
}

/// The body of a request, which has one of these media types unless it is empty.
///
/// # Errors
/// Those of [`body`]; it has another media type.
pub async fn body_of_type(
    request: &HttpRequest,
    payload: Payload,
    accepted: &[&str],
) -> Result<Bytes, DoorError> {
    let bytes = body(request, payload).await?;
    let media_type = request.headers().get(CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next());
    let is_accepted = |found: &str| {
        let mut accepted = accepted.iter();
        accepted.any(|one| found.trim().eq_ignore_ascii_case(one))
    };
    if !bytes.is_empty() && !media_type.is_some_and(is_accepted) {
        let message = "the body is JSON: `Content-Type: application/json`";
        return Err(DoorError::new(ErrorCode::UnsupportedMedia, message));
    }
    Ok(bytes)
}

/// The JSON object in the body; an empty body is an empty object.
async fn object(request: &HttpRequest, payload: Payload) -> Result<Map<String, Value>, DoorError> {
    let bytes = body_of_type(request, payload, &["application/json"]).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| DoorError::invalid(format!("the body is not a JSON object: {error}")))
}

/// A text as a part of a path.
pub fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match is_plain(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_types_of_its_operation() {
        let properties = &PROPERTIES["find_agents"];
        let read = |text| query(text, properties).map(Value::Object);
        assert_eq!(
            read("capabilities=a&capabilities=b%20c&limit=7&expired=true&name=x").unwrap(),
            serde_json::json!({
                "capabilities": ["a", "b c"], "limit": 7, "expired": true, "name": "x"
            })
        );
        for wrong in [
            "limit=x",
            "limit=-1",
            "expired=1",
            "name=a&name=b",
            "other=1",
            "limit=null",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_path_is_decoded() {
        assert_eq!(percent_decoded("inbox%2F12").unwrap(), "inbox/12");
        assert_eq!(percent_decoded("a+b").unwrap(), "a+b");
        assert_eq!(percent_decoded("a%26b=c").unwrap(), "a&b=c");
        for wrong in ["%", "%4", "%zz", "%FF"] {
            assert!(percent_decoded(wrong).is_err(), "{wrong}");
        }
    }
}
