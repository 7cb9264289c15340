//! What those who watch a store are told of the rows that change.
//!
//! Nothing is noted while nobody watches. A row is told about when the tables have it, once for all
//! that happened to it since they were written before.

use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::Authenticity;
use agentry_core::rows::{
    AgentId, EventId, EventKind, InboxId, InboxState, OutboxId, OutboxState, ReceiptState, TaskId,
    TaskState,
};
use agentry_protocol::{Address, TransactionHash};
use tokio::sync::broadcast;

/// How many writes of the tables a watcher may lag behind before it misses some.
const BEHIND: usize = 64;

/// A row that is new, or whose state has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// A message to a hosted wallet.
    Message {
        /// Its row.
        id: InboxId,
        /// The agent that it is for.
        agent: AgentId,
        /// Its sender.
        from: Address,
        /// Whether its sender is verified.
        authenticity: Authenticity,
        /// The transaction that carried it.
        transaction: TransactionHash,
        /// The transaction that it answers.
        re: Option<TransactionHash>,
        /// The conversation that it belongs to.
        thread: Option<String>,
        /// Its state.
        state: InboxState,
        /// Whether the row is new.
        is_new: bool,
        /// Why it failed last, waits, or was not acted on.
        reason: Option<String>,
    },
    /// A transaction of a hosted wallet.
    Transaction {
        /// Its row.
        id: OutboxId,
        /// The agent that sends it.
        agent: AgentId,
        /// Its recipient.
        to: Address,
        /// Its hash, once it is signed.
        transaction: Option<TransactionHash>,
        /// The row whose message it carries again.
        resend_of: Option<OutboxId>,
        /// Its state.
        state: OutboxState,
        /// Why it waits or failed.
        reason: Option<String>,
    },
    /// What is known about the delivery of a message that a hosted wallet sent.
    Receipt {
        /// The message's row.
        outbox: OutboxId,
        /// The agent that sent it.
        agent: AgentId,
        /// What is known.
        state: ReceiptState,
        /// The recipient's explanation.
        detail: Option<String>,
    },
    /// A task that a hosted wallet runs; its progress, too.
    Task {
        /// Its row.
        id: TaskId,
        /// The agent that runs it.
        agent: AgentId,
        /// Its type.
        kind: String,
        /// Who requested it.
        submitter: Option<Address>,
        /// Its state.
        state: TaskState,
        /// Its progress, from 0 to 1.
        progress: Option<f64>,
        /// Why it failed: a code for programs.
        error: Option<String>,
    },
    /// An event other than a message that could not be handled.
    DeadEvent {
        /// Its row.
        id: EventId,
        /// The agent that it was for.
        agent: AgentId,
        /// Its kind.
        kind: EventKind,
        /// The behaviour that it was for.
        behaviour: String,
        /// Why it could not be handled.
        reason: Option<String>,
    },
}

/// Tells watchers of the rows that change.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    noted: Arc<Mutex<Vec<RowChange>>>,
    sender: broadcast::Sender<Arc<[RowChange]>>,
}

impl Default for Publisher {
    fn default() -> Self {
        Self {
            noted: Arc::default(),
            sender: broadcast::Sender::new(BEHIND),
        }
    }
}

impl Publisher {
    /// Everything that is told from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<Arc<[RowChange]>> {
        self.sender.subscribe()
    }

    /// Notes a change, if anybody watches.
    pub(super) fn note(&self, change: impl FnOnce() -> Option<RowChange>) {
        if self.sender.receiver_count() > 0
            && let Some(change) = change()
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.push(change);
        }
    }

    /// Tells what was noted, once the tables have it; forgets it, if they do not.
    pub(super) fn end(&self, is_written: bool) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = std::mem::take(&mut *noted);
        if is_written && !noted.is_empty() {
            // The last watcher may have gone.
            let _ = self.sender.send(noted.into());
        }
    }
}
