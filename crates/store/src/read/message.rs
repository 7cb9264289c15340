//! Single messages.

use agentry_core::Authenticity;
use agentry_core::rows::{DueMessage, InboxId};
use agentry_core::state::row::Message;
use rusqlite::params;

use crate::{Reader, StoreError};

/// Reads whether the sender of a message that reaches behaviours is verified.
pub(crate) fn authenticity(word: &str) -> Option<Authenticity> {
    [Authenticity::Verified, Authenticity::Unverified]
        .into_iter()
        .find(|known| known.as_str() == word)
}

/// A message, in any state, unless it was pruned.
///
/// # Errors
/// Any error of SQLite, and [`StoreError::Value`].
pub fn message_at(db: &Reader, id: InboxId) -> Result<Option<DueMessage>, StoreError> {
    let message: Option<Message> = db.row("id = ?1", params![id.0])?;
    message.as_ref().map(due_message).transpose()
}

/// A message with its transaction parsed.
///
/// # Errors
/// [`StoreError::Value`]: the transaction cannot be read.
pub fn due_message(message: &Message) -> Result<DueMessage, StoreError> {
    let damaged = |error| StoreError::value("inbox", &message.id.to_string(), &error);
    DueMessage::of(message).map_err(damaged)
}
