//! The queue of a hosted agent: messages, and events of single behaviours.

use std::sync::Arc;

use agentry_protocol::{ContentHash, Identity, TransactionHash};
use serde_json::Value;

use crate::{Event, Message, Settlement};

/// A message that arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Arc<Message>,
    pub(super) identity: Identity,
    /// The transactions that carried it.
    pub(super) carriers: Vec<TransactionHash>,
    /// The position of the next behaviour to show it to.
    pub(super) next: usize,
    /// Whether a behaviour that does not watch it has handled it.
    pub(super) acted: bool,
    /// Why a behaviour rejected it.
    pub(super) rejected: Option<String>,
    /// The positions of the tasks that it started.
    pub(super) tasks: Vec<usize>,
    /// Whether all behaviours have handled it.
    pub(super) handled: bool,
    pub(super) settlement: Option<Settlement>,
}

/// An event in the queue.
#[derive(Debug)]
pub(super) struct Item {
    /// Identifies it among all events of its agent; the same in every run of the same history.
    pub(super) key: String,
    pub(super) what: Waiting,
    /// The number of the next attempt, from 1.
    pub(super) attempt: u32,
    pub(super) not_before: u64,
}

#[derive(Debug)]
pub(super) enum Waiting {
    /// A message, by its position in the inbox.
    Message(usize),
    /// An event of one behaviour, which may be about a message in the inbox.
    Own {
        behaviour: usize,
        event: Box<Event>,
        about: Option<usize>,
    },
}

/// A timer that has not expired.
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

/// A name of fixed length, derived from one of any length.
pub(super) fn short(key: &str) -> String {
    let mut text = ContentHash::of(key.as_bytes()).to_string();
    text.truncate(32);
    text
}
