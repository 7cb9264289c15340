//! Rows of the queues with details for the reader: names, contents, and reasons for waiting.

use agentry_protocol::{Json, Limits, StoredTransaction, Timestamp};
use agentry_store::list::{EventItem, ForgedItem, InboxItem, OutboxItem};
use serde::Serialize;

use super::super::content::MessageContent;
use super::super::names::Names;
use super::waits::Waits;
use crate::runtime::submitter::budget;

/// Why a transaction waits that an operator has to approve.
const UNAPPROVED: &str = "it waits for approval; `agentry approvals list` prints what does";

/// The content of a message.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Words {
    /// The text, or the command as JSON, without its header; `None` if sealed.
    pub text: Option<String>,
    /// The name of the command, if it is one.
    pub cmd: Option<String>,
    /// Whether it is sealed.
    pub sealed: bool,
}

impl Words {
    fn of(payload: &Json) -> Self {
        let content = MessageContent::read(payload);
        Self {
            text: content.text,
            cmd: content.cmd,
            sealed: content.sealed,
        }
    }

    /// Parses the content of a transaction in the form that a node stores.
    fn of_stored(stored: &str) -> Self {
        let stored = StoredTransaction::parse(stored.as_bytes(), Limits::default());
        stored.map_or_else(|_| Self::default(), |stored| Self::of(&stored.message()))
    }

    pub(in crate::ops) fn of_payload(payload: &str) -> Self {
        let payload = Json::parse(payload.as_bytes(), Limits::default());
        payload.map_or_else(|_| Self::default(), |payload| Self::of(&payload))
    }
}

/// A message.
#[derive(Clone, Debug, Serialize)]
pub struct MessageRow {
    /// What the store has of it.
    #[serde(flatten)]
    pub item: InboxItem,
    /// The name of its sender.
    pub from_name: Option<String>,
    /// Its content.
    #[serde(flatten)]
    pub words: Words,
    /// Why it waits.
    pub waits: Option<String>,
}

/// A transaction.
#[derive(Clone, Debug, Serialize)]
pub struct TransactionRow {
    /// What the store has of it.
    #[serde(flatten)]
    pub item: OutboxItem,
    /// The name of its recipient.
    pub to_name: Option<String>,
    /// Its content.
    #[serde(flatten)]
    pub words: Words,
    /// The day (UTC) whose budget paid for it.
    pub budget_day: Option<String>,
    /// Why it waits.
    pub waits: Option<String>,
}

/// Another event for an agent.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// What the store has of it.
    #[serde(flatten)]
    pub item: EventItem,
    /// Why it waits.
    pub waits: Option<String>,
}

/// A forged message.
#[derive(Clone, Debug, Serialize)]
pub struct ForgedRow {
    /// What the store has of it.
    #[serde(flatten)]
    pub item: ForgedItem,
    /// The name of the address that it claims to be from.
    pub from_name: Option<String>,
    /// Its content.
    #[serde(flatten)]
    pub words: Words,
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
        let waits = match item.waits_for_approval {
            true => Some(UNAPPROVED.to_owned()),
            false => item.reason.clone().filter(|_| is_open_transaction(&item)),
        };
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
    pub(super) fn new(item: EventItem, now: Timestamp, waits: &Waits) -> Self {
        let is_waiting = item.state == "waiting";
        let later = item.due_at.filter(|at| is_waiting && *at > now);
        let due = later.map(|at| format!("it is due in {}", ago(now, at)));
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

/// Whether a message waits to be handled.
pub(super) fn is_open_message(item: &InboxItem) -> bool {
    item.state == "waiting" || item.state == "withdrawn"
}

/// Whether a transaction waits to be in a block.
pub(super) fn is_open_transaction(item: &OutboxItem) -> bool {
    matches!(item.state.as_str(), "queued" | "prepared" | "accepted")
}

/// How long ago a time was, in its two largest units.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, name) in units {
        if left >= length && parts.len() < 2 {
            parts.push(format!("{} {name}", left / length));
            left %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_601, "1 h"),
            (90_061, "1 d 1 h"),
        ] {
            let now = Timestamp::EPOCH.plus(Duration::from_secs(seconds));
            assert_eq!(ago(Timestamp::EPOCH, now), wanted);
        }
    }
}
