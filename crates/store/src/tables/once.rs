//! Commits to tables that no process has open, without a log.

use agentry_core::state::{Facts, Failure};
use agentry_core::{Commit, State};
use rusqlite::Connection;

use super::{Database, archives, facts, refused, unboxed};
use crate::StoreError;

/// Applies commits to the tables, in one transaction.
///
/// # Errors
/// A commit is refused, or the tables cannot be used. Then nothing was changed.
pub(crate) fn change(connection: Connection, commits: &[Commit]) -> Result<(), StoreError> {
    let db = Database::new(connection);
    let stored = facts::read(&db.lock())?;
    let mut state = State::over(Facts::default(), archives(&db));
    if let Some(error) = state.reset(stored.clone()).map_err(unboxed)? {
        return Err(unboxed(error));
    }
    db.run("BEGIN IMMEDIATE")?;
    for commit in commits {
        state.apply(commit).map_err(|failure| match failure {
            Failure::Refused(refusal) => refused(refusal),
            Failure::Archive(error) => unboxed(error),
        })?;
    }
    state.write().map_err(unboxed)?;
    facts::write(&db.lock(), &stored, state.facts())?;
    db.run("COMMIT")
}
