//! Changes of the queues.

use std::path::Path;

use agentry_core::Commit;
use agentry_core::commit::QueueTarget;
use agentry_protocol::Timestamp;
use agentry_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::super::{OperationError, Operations};
use crate::runtime::clock::Clock;
use crate::runtime::control::{Client, ControlError};
use crate::runtime::submitter::{LookAtQueue, Resume};

/// A change of the queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueChange {
    /// Has dead letters handled, or failed transactions posted, once more.
    Retry(QueueTarget),
    /// Drops rows: they are not retried.
    Drop(QueueTarget),
    /// Resumes posting.
    Resume,
}

impl QueueChange {
    /// The commit that makes the change, at this time.
    fn commit(&self, at: Timestamp) -> Commit {
        match self.clone() {
            Self::Retry(target) => Commit::Retry { target, at },
            Self::Drop(target) => Commit::Drop { target, at },
            Self::Resume => Commit::Resume,
        }
    }
}

impl Operations {
    /// Changes the queues, and returns how many rows were changed. Before dead letters are retried,
    /// their senders are verified again.
    ///
    /// # Errors
    /// The store's.
    pub async fn change(&self, change: QueueChange) -> Result<usize, OperationError> {
        if let QueueChange::Retry(target) = &change {
            self.reverify(target).await?;
        }
        let commit = change.commit(self.shared.clock.now());
        let changes = self.shared.store.commit_now(commit).await?;
        // A submitter that has ended reads the store when it restarts.
        match change {
            QueueChange::Retry(_) => {
                let reopened = changes.reopened;
                let _ = self.links.look.send(LookAtQueue { reopened }).await;
            }
            QueueChange::Resume => {
                let _ = self.links.resume.send(Resume).await;
            }
            QueueChange::Drop(_) => {}
        }
        // The senders of dropped rows are notified.
        self.wake(changes.due).await;
        Ok(changes.rows)
    }
}

/// Why the queues were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The running runtime did not make the change.
    #[error(transparent)]
    Runtime(#[from] ControlError),
    /// The store cannot be opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Changes the queues of a store: the runtime that has it open makes the change, or this process if
/// none has. Returns how many rows were changed.
///
/// # Errors
/// There is no store; it cannot be changed; the running runtime cannot be reached.
pub async fn change(store: &Path, change: QueueChange) -> Result<usize, ChangeError> {
    if !store.exists() {
        let path = store.to_owned();
        return Err(StoreError::Missing { path }.into());
    }
    match Client::new(store).change(change.clone()).await {
        Err(ControlError::NotRunning { .. }) => {
            let commit = change.commit(Clock::default().now());
            Ok(Store::open(store)?.commit_now(commit).await?.rows)
        }
        changed => Ok(changed?),
    }
}
