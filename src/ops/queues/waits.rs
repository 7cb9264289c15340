//! Why rows of the queues wait, as far as only the running runtime knows it: rates, confirmations,
//! the state of the posting node.

use std::collections::BTreeMap;
use std::path::Path;

use agentry_core::rows::OutboxState;
use agentry_store::list::{InboxItem, OutboxItem};
use agentry_store::read::{self, WaitingMessage};
use serde::{Deserialize, Serialize};

use super::super::{OperationError, Operations};
use super::rows::{is_open_message, is_open_transaction};
use crate::runtime::control::{Client, ControlError};

/// The most rows of each queue that are examined for one request.
pub const AT_MOST: usize = 1_000;

/// The rows to examine: of each queue the first [`AT_MOST`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WaitingRows {
    /// Messages.
    pub inbox: Vec<i64>,
    /// Transactions.
    pub outbox: Vec<i64>,
}

/// Why rows wait, as the running runtime reports it.
#[derive(Clone, Debug)]
pub enum Waits {
    /// The reasons, by row id. A row that waits only for its turn has none.
    Known(BTreeMap<String, String>),
    /// No runtime is running: nothing is handled or sent.
    NotRunning,
    /// The runtime did not report reasons.
    Unknown,
}

impl Waits {
    /// Asks the runtime why these messages and transactions wait; of each, the newest.
    pub async fn ask(messages: &[InboxItem], transactions: &[OutboxItem], store: &Path) -> Self {
        let messages = messages.iter().filter(|item| is_open_message(item));
        let transactions = transactions.iter().filter(|item| is_open_transaction(item));
        let rows = WaitingRows {
            inbox: rows(messages.map(|item| &item.id)),
            outbox: rows(transactions.map(|item| &item.id)),
        };
        Self::of_rows(rows, store).await
    }

    /// Asks the runtime why these rows wait.
    pub async fn of_rows(rows: WaitingRows, store: &Path) -> Self {
        match Client::new(store).waits(rows).await {
            Ok(reasons) => Self::Known(reasons),
            Err(ControlError::NotRunning { .. }) => Self::NotRunning,
            Err(_) => Self::Unknown,
        }
    }

    /// Why the row with this id waits; `None` if it does not.
    pub fn of(&self, id: &str, is_waiting: bool) -> Option<String> {
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
        .take(AT_MOST)
        .collect()
}

impl Operations {
    /// Why each of these rows waits, by its id as `queue list` prints it. A row that waits only for its
    /// turn is not included.
    ///
    /// # Errors
    /// The store's.
    pub async fn waits(
        &self,
        rows: WaitingRows,
    ) -> Result<BTreeMap<String, String>, OperationError> {
        let (messages, transactions) = self
            .shared
            .store
            .read(move |db| {
                let mut messages = Vec::new();
                for row in rows.inbox.into_iter().take(AT_MOST) {
                    messages.extend(read::waiting_message(db, row)?.map(|found| (row, found)));
                }
                let mut transactions = Vec::new();
                for row in rows.outbox.into_iter().take(AT_MOST) {
                    transactions
                        .extend(read::waiting_transaction(db, row)?.map(|found| (row, found)));
                }
                Ok((messages, transactions))
            })
            .await?;
        let mut reasons = BTreeMap::new();
        for (row, waiting) in messages {
            if let Some(reason) = self.message(&waiting) {
                reasons.insert(format!("inbox/{row}"), reason);
            }
        }
        let condition = self.condition();
        for (row, (state, stored)) in transactions {
            let is_posted = state == OutboxState::Accepted.as_str();
            let reason = if is_posted || stored.is_some() {
                None
            } else if !condition.posting {
                Some("posting is stopped; `agentry queue resume` resumes it")
            } else if !condition.node_up {
                Some("the node that transactions are posted to does not answer")
            } else {
                None
            };
            if let Some(reason) = reason {
                reasons.insert(format!("outbox/{row}"), reason.to_owned());
            }
        }
        Ok(reasons)
    }

    fn message(&self, waiting: &WaitingMessage) -> Option<String> {
        let shared = &self.shared;
        if waiting.withdrawn {
            return Some("a reorganisation withdrew it; it waits to be mined again".to_owned());
        }
        let Some(hosted) = self.registry.get(waiting.agent) else {
            let name = &waiting.agent_name;
            return Some(format!("agent {name} is not hosted any more"));
        };
        let confirmed = shared.confirmed.get().0;
        if let Some(height) = waiting.height.filter(|height| *height > confirmed) {
            return Some(format!(
                "its block {height} is not confirmed yet: blocks up to {confirmed} are"
            ));
        }
        let now = shared.clock.now();
        if waiting.due_at > now {
            return Some(format!(
                "it is retried in {}",
                seconds(waiting.due_at.ms_since(now))
            ));
        }
        let rate = hosted.config.common.per_sender_rate?;
        // Its token was taken at its first attempt.
        if waiting.attempts > 0 || waiting.begun {
            return None;
        }
        let sender = waiting.verified.then_some(waiting.sender.as_str());
        let until = shared.rates.until(waiting.agent, sender, rate, now)?;
        let (who, whose) = match sender {
            Some(_) => ("its sender is", "of its sender"),
            None => ("unverified senders, who share one rate, are", "of them"),
        };
        Some(format!(
            "{who} over per_sender_rate = {rate}; the next message {whose} is handled in {}",
            seconds(until.ms_since(now))
        ))
    }
}

/// A duration in whole seconds, at least one.
fn seconds(ms: u64) -> String {
    format!("{} s", ms.div_ceil(1_000).max(1))
}
