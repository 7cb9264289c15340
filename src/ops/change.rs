//! What operators and callers change in a store: the queues, what waits for approval, the tokens,
//! where callers are told of tasks.

use std::path::Path;

use agentry_core::commit::{HeldEffect, QueueTarget};
use agentry_core::{Commit, Push, Token, TokenName};
use agentry_protocol::Timestamp;
use agentry_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::{OperationError, Operations};
use crate::runtime::clock::Clock;
use crate::runtime::control::{Client, ControlError};
use crate::runtime::submitter::{LookAtQueue, Resume};

/// A change that an operator or a caller makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreChange {
    /// Has dead letters handled, or failed transactions posted, once more.
    Retry(QueueTarget),
    /// Drops rows: they are not retried.
    Drop(QueueTarget),
    /// Resumes posting.
    Resume,
    /// Decides on an effect that waits for approval.
    Decide {
        /// The effect.
        effect: HeldEffect,
        /// Whether it is carried out.
        granted: bool,
        /// Why.
        reason: Option<String>,
    },
    /// Makes a token.
    CreateToken(Token),
    /// Ends a token.
    RevokeToken(TokenName),
    /// Tells a client of a task.
    AddPush(Push),
    /// Tells a client no more of a task: the number of its row.
    EndPush(i64),
}

impl StoreChange {
    /// The commit that makes the change, at this time.
    fn commit(&self, at: Timestamp) -> Commit {
        match self.clone() {
            Self::Retry(target) => Commit::Retry { target, at },
            Self::Drop(target) => Commit::Drop { target, at },
            Self::Resume => Commit::Resume,
            Self::Decide {
                effect,
                granted,
                reason,
            } => Commit::Decide {
                effect,
                granted,
                reason,
                at,
            },
            Self::CreateToken(token) => Commit::CreateToken(token),
            Self::RevokeToken(name) => Commit::RevokeToken { name },
            Self::AddPush(push) => Commit::AddPush(push),
            Self::EndPush(number) => Commit::EndPush { number },
        }
    }
}

impl Operations {
    /// Makes a change, and returns how many rows were changed. Before dead letters are retried,
    /// their senders are verified again.
    ///
    /// # Errors
    /// The store's.
    pub async fn change(&self, change: StoreChange) -> Result<usize, OperationError> {
        if let StoreChange::Retry(target) = &change {
            self.reverify(target).await?;
        }
        let commit = change.commit(self.shared.clock.now());
        let changes = self.shared.store.commit_now(commit).await?;
        // A submitter that has ended reads the store when it restarts.
        match change {
            StoreChange::Retry(_) | StoreChange::Decide { .. } => {
                let reopened = changes.reopened;
                let _ = self.links.look.send(LookAtQueue { reopened }).await;
            }
            StoreChange::Resume => {
                let _ = self.links.resume.send(Resume).await;
            }
            StoreChange::Drop(_)
            | StoreChange::CreateToken(_)
            | StoreChange::RevokeToken(_)
            | StoreChange::AddPush(_)
            | StoreChange::EndPush(_) => {}
        }
        if changes.tasks {
            self.shared.pool.wake();
        }
        // The senders of dropped rows are notified, and behaviours whose effects were denied.
        self.wake(changes.due).await;
        Ok(changes.rows)
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The running runtime did not make the change.
    #[error(transparent)]
    Runtime(#[from] ControlError),
    /// The store cannot be opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a change in a store: the runtime that has it open makes the change, or this process if
/// none has. Returns how many rows were changed.
///
/// # Errors
/// There is no store; it cannot be changed; the running runtime cannot be reached.
pub async fn make(store: &Path, change: StoreChange) -> Result<usize, ChangeError> {
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
