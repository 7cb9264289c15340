//! Effects of behaviours that wait for an operator's approval, because `approve` of agents.toml names
//! them.

use std::path::{Path, PathBuf};

use agentry_core::commit::HeldEffect;
use agentry_core::{OutboxId, TaskId};
use agentry_store::list::{self, ApprovalItem, HeldItem};
use agentry_store::{Reader, StoreError};
use serde::Serialize;

use super::change::{self, ChangeError, StoreChange};
use super::names::Names;
use super::queues::rows::Words;

/// The longest reason of a decision, in bytes: it is sent to others.
pub const REASON_MAX: usize = 1_000;

/// An effect that waits, with details for the reader.
#[derive(Clone, Debug, Serialize)]
pub struct Approval {
    /// What the store has of it.
    #[serde(flatten)]
    pub item: ApprovalItem,
    /// The name of the recipient of a message.
    pub to_name: Option<String>,
    /// The content of a message; nothing for a task. What is sealed only its recipient can read.
    #[serde(flatten)]
    pub words: Words,
}

impl Approval {
    fn of(item: ApprovalItem, names: &Names<'_>) -> Self {
        let (to_name, words) = match &item.effect {
            HeldItem::Message { to, payload, .. } => (names.text(to), Words::of_payload(payload)),
            HeldItem::Task { .. } => (None, Words::default()),
        };
        Self {
            item,
            to_name,
            words,
        }
    }
}

/// Effects that wait.
#[derive(Clone, Debug, Serialize)]
pub struct ApprovalList {
    /// The effects, oldest first.
    pub approvals: Vec<Approval>,
    /// How many wait, of all agents.
    pub waiting: u64,
}

/// Lists the effects that wait, oldest first: at most `limit`, of the agent with this name or address,
/// or of all.
///
/// # Errors
/// The store's.
pub fn list(
    db: &Reader,
    agent: Option<&str>,
    limit: u64,
    names: &Names<'_>,
) -> Result<ApprovalList, StoreError> {
    let items = list::approvals(db, agent, limit)?;
    let approvals = items.into_iter().map(|item| Approval::of(item, names));
    Ok(ApprovalList {
        approvals: approvals.collect(),
        waiting: list::waiting_approvals(db)?,
    })
}

/// The effect with this id, if it waits.
///
/// # Errors
/// [`ApprovalError`].
pub fn show(
    db: &Reader,
    id: &str,
    names: &Names<'_>,
    store: &Path,
) -> Result<Approval, ApprovalError> {
    let found = match effect(id)? {
        HeldEffect::Outbox(row) => list::held_message(db, row.0)?,
        HeldEffect::Task(row) => list::held_task(db, row.0)?,
    };
    let found = found.ok_or_else(|| ApprovalError::Missing {
        id: id.to_owned(),
        store: store.to_owned(),
    })?;
    Ok(Approval::of(found, names))
}

/// Decides on the effect with this id. A message that is granted is signed and sent, a task begins; the
/// behaviour of one that is denied learns why, and so does the sender of a denied task.
///
/// # Errors
/// [`ApprovalError`].
pub async fn decide(
    id: &str,
    granted: bool,
    reason: Option<String>,
    store: &Path,
) -> Result<(), ApprovalError> {
    let effect = effect(id)?;
    if let Some(reason) = reason.as_ref().filter(|reason| reason.len() > REASON_MAX) {
        return Err(ApprovalError::Reason(reason.len()));
    }
    let decision = StoreChange::Decide {
        effect,
        granted,
        reason,
    };
    match change::make(store, decision).await? {
        0 => Err(ApprovalError::Missing {
            id: id.to_owned(),
            store: store.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The effect with this id.
fn effect(id: &str) -> Result<HeldEffect, ApprovalError> {
    let wrong = || ApprovalError::Id(id.to_owned());
    let (table, row) = id.split_once('/').ok_or_else(wrong)?;
    let row = row.parse().map_err(|_| wrong())?;
    match table {
        "outbox" => Ok(HeldEffect::Outbox(OutboxId(row))),
        "task" => Ok(HeldEffect::Task(TaskId(row))),
        _ => Err(wrong()),
    }
}

/// Why nothing was decided or shown.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// It is not an id.
    #[error(
        "{0:?} is not an id of something that waits for approval; `agentry approvals list` prints \
         them, such as outbox/7 or task/3"
    )]
    Id(String),
    /// Nothing with this id waits.
    #[error("{id} does not wait for approval in {}: it was decided on, has expired, or never existed; `agentry approvals list` prints what waits", store.display())]
    Missing {
        /// The id.
        id: String,
        /// The store.
        store: PathBuf,
    },
    /// The reason is too long.
    #[error("the reason has {0} bytes; at most {REASON_MAX} are sent")]
    Reason(usize),
    /// The change was not made.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
