//! Rows of the queues with details for the reader: names, contents, and reasons for waiting.

use std::collections::BTreeMap;

use agentry_protocol::{Json, Limits, StoredTransaction};
use agentry_store::list::{EventItem, ForgedItem, InboxItem, OutboxItem};
use serde::Serialize;

use super::super::agent::said::Said;
use super::super::output::first_line;
use super::super::{Failure, runtime};
use super::ago;
use crate::config::Config;
use crate::ops::names::Names;
use crate::ops::queues::waits::{self, WaitingRows};
use crate::runtime::control::{Client, ControlError};
use crate::runtime::submitter::budget;

/// Content of a message.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Words {
    /// The text, or the command as JSON, without its header; `None` if sealed.
    pub(super) text: Option<String>,
    /// The name of the command, if it is one.
    pub(super) cmd: Option<String>,
    /// Whether it is sealed.
    pub(super) sealed: bool,
}

impl Words {
    fn of(payload: &Json) -> Self {
        let said = Said::read(payload);
        Self {
            text: said.text,
            cmd: said.cmd,
            sealed: said.sealed,
        }
    }

    /// Parses the content of a transaction in the form that a node stores.
    fn of_stored(stored: &str) -> Self {
        let stored = StoredTransaction::parse(stored.as_bytes(), Limits::default());
        stored.map_or_else(|_| Self::default(), |stored| Self::of(&stored.payload))
    }

    fn of_payload(payload: &str) -> Self {
        let payload = Json::parse(payload.as_bytes(), Limits::default());
        payload.map_or_else(|_| Self::default(), |payload| Self::of(&payload))
    }

    /// The first line, for a column of a table.
    pub(super) fn line(&self, limit: usize) -> String {
        match &self.text {
            Some(text) => first_line(text, limit),
            None if self.sealed => "(sealed)".to_owned(),
            None => "(unreadable)".to_owned(),
        }
    }
}

/// A message.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MessageRow {
    #[serde(flatten)]
    pub(super) item: InboxItem,
    /// Display name of its sender.
    pub(super) from_name: Option<String>,
    #[serde(flatten)]
    pub(super) words: Words,
    /// Why it waits.
    pub(super) waits: Option<String>,
}

/// A transaction.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TransactionRow {
    #[serde(flatten)]
    pub(super) item: OutboxItem,
    /// Display name of its recipient.
    pub(super) to_name: Option<String>,
    #[serde(flatten)]
    pub(super) words: Words,
    /// The day (UTC) whose budget paid for it.
    pub(super) budget_day: Option<String>,
    /// Why it waits.
    pub(super) waits: Option<String>,
}

/// Another event for an agent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EventRow {
    #[serde(flatten)]
    pub(super) item: EventItem,
    /// Why it waits.
    pub(super) waits: Option<String>,
}

/// A forged message.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ForgedRow {
    #[serde(flatten)]
    pub(super) item: ForgedItem,
    /// Display name of the address that it claims to be from.
    pub(super) from_name: Option<String>,
    #[serde(flatten)]
    pub(super) words: Words,
}

impl MessageRow {
    pub(super) fn new(item: InboxItem, names: &Names<'_>, waits: &Waits) -> Self {
        Self {
            from_name: names.text(&item.from),
            words: Words::of_stored(&item.stored),
            waits: waits.of(&item.id, is_open_message(&item)),
            item,
        }
    }
}

impl TransactionRow {
    pub(super) fn new(item: OutboxItem, names: &Names<'_>, waits: &Waits) -> Self {
        let is_unposted = item.state == "queued" || item.state == "prepared";
        let live = waits.of(&item.id, is_unposted);
        // The store has the reason for waiting, if it is known there. The reason of a failed row is
        // not a reason for waiting.
        let waits = item.reason.clone().filter(|_| is_open_transaction(&item));
        Self {
            to_name: names.text(&item.to),
            words: Words::of_payload(&item.payload),
            budget_day: item.budget_day.map(budget::name_of),
            waits: waits.or(live),
            item,
        }
    }
}

impl EventRow {
    pub(super) fn new(item: EventItem, now_ms: u64, waits: &Waits) -> Self {
        let is_waiting = item.state == "waiting";
        let later = item.due_at.filter(|at| is_waiting && *at > now_ms);
        let due = later.map(|at| format!("it is due in {}", ago(now_ms, at)));
        Self {
            waits: due.or_else(|| waits.of(&item.id, is_waiting)),
            item,
        }
    }
}

impl ForgedRow {
    pub(super) fn new(item: ForgedItem, names: &Names<'_>) -> Self {
        Self {
            from_name: names.text(&item.from),
            words: Words::of_stored(&item.stored),
            item,
        }
    }
}

fn is_open_message(item: &InboxItem) -> bool {
    item.state == "waiting" || item.state == "withdrawn"
}

fn is_open_transaction(item: &OutboxItem) -> bool {
    matches!(item.state.as_str(), "queued" | "prepared" | "accepted")
}

/// Reasons for waiting that only a running runtime knows.
#[derive(Debug)]
pub(super) enum Waits {
    /// Reasons by row id.
    Known(BTreeMap<String, String>),
    /// No runtime is running: nothing is handled or sent.
    NotRunning,
    /// The runtime did not report reasons.
    Unknown,
}

impl Waits {
    /// Asks the runtime why these rows wait.
    pub(super) fn ask(
        messages: &[InboxItem],
        transactions: &[OutboxItem],
        config: &Config,
    ) -> Result<Self, Failure> {
        let rows = WaitingRows {
            inbox: rows(
                messages
                    .iter()
                    .filter(|item| is_open_message(item))
                    .map(|item| &item.id),
            ),
            outbox: rows(
                transactions
                    .iter()
                    .filter(|item| is_open_transaction(item))
                    .map(|item| &item.id),
            ),
        };
        let asked = runtime()?.block_on(Client::new(&config.store.path).waits(rows));
        Ok(match asked {
            Ok(reasons) => Self::Known(reasons),
            Err(ControlError::NotRunning { .. }) => Self::NotRunning,
            Err(_) => Self::Unknown,
        })
    }

    /// Why the row with this id waits; `None` if it does not.
    fn of(&self, id: &str, is_waiting: bool) -> Option<String> {
        match self {
            _ if !is_waiting => None,
            Self::Known(reasons) => reasons.get(id).cloned(),
            Self::NotRunning => Some("no runtime is running".to_owned()),
            Self::Unknown => None,
        }
    }
}

/// The rows that the ids name, newest first, up to the limit.
fn rows<'a>(ids: impl DoubleEndedIterator<Item = &'a String>) -> Vec<i64> {
    ids.rev()
        .filter_map(|id| id.split_once('/')?.1.parse().ok())
        .take(waits::AT_MOST)
        .collect()
}
