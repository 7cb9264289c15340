//! The rows, their columns, and how their indexes are found in SQL.

mod agent;
mod card;
mod event;
mod inbox;
mod outbox;
mod sighting;
mod task;

use agentry_protocol::{Json, JsonError, Limits};
use serde_json::Value;

fn payload(text: &str) -> Result<Json, JsonError> {
    Json::parse(text.as_bytes(), Limits::default())
}

fn value(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}
