//! What waits for a hosted agent's behaviours: messages, and events of their own.

use std::sync::Arc;

use agentry_protocol::{ContentHash, Identity, TransactionHash};
use serde_json::Value;

use crate::{Event, Message, Settlement};

/// A message that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Arc<Message>,
    pub(super) identity: Identity,
    /// The transactions that carried it.
    pub(super) carriers: Vec<TransactionHash>,
    /// The next behaviour that has to see it, by position.
    pub(super) next: usize,
    /// Whether a behaviour other than a watcher took it.
    pub(super) acted: bool,
    /// Why a behaviour refused it.
    pub(super) rejected: Option<String>,
    /// Tasks that it started, by position.
    pub(super) tasks: Vec<usize>,
    /// Whether all behaviours are done with it.
    pub(super) handled: bool,
    pub(super) settlement: Option<Settlement>,
}

/// Something that waits for its turn.
#[derive(Debug)]
pub(super) struct Item {
    /// What tells it from all others of its agent, in every run of the same history.
    pub(super) key: String,
    pub(super) what: Waiting,
    /// Which attempt is next, from 1.
    pub(super) attempt: u32,
    pub(super) not_before: u64,
}

#[derive(Debug)]
pub(super) enum Waiting {
    /// A message, by its position in the inbox.
    Message(usize),
    /// An event of one behaviour, about a message in the inbox perhaps.
    Own {
        behaviour: usize,
        event: Box<Event>,
        about: Option<usize>,
    },
}

/// A timer that has not run out.
#[derive(Debug)]
pub(super) struct SetTimer {
    pub(super) behaviour: usize,
    pub(super) name: String,
    pub(super) data: Value,
    pub(super) due_ms: u64,
    pub(super) key: String,
}

impl Item {
    pub(super) fn own(
        key: &str,
        behaviour: usize,
        event: Event,
        about: Option<usize>,
        now_ms: u64,
    ) -> Self {
        Self {
            key: short(key),
            what: Waiting::Own {
                behaviour,
                event: Box::new(event),
                about,
            },
            attempt: 1,
            not_before: now_ms,
        }
    }
}

/// A name of fixed length for something with a long one.
pub(super) fn short(key: &str) -> String {
    let mut text = ContentHash::of(key.as_bytes()).to_string();
    text.truncate(32);
    text
}
