//! The rows, their columns, and how their indexes are found in SQL.

mod agent;
mod card;
mod event;
mod inbox;
mod notice;
mod outbox;
mod push;
mod sighting;
mod task;
mod token;

use serde_json::Value;

fn value(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}
