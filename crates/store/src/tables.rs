//! The state machine over the tables of SQLite. No other module changes them.
//!
//! [`agentry_core::State`] decides what a commit changes. Its tables are those of the database:
//! each row that a commit needs is read from there, and what it changed is written there, in the
//! caller's transaction.
//!
//! | module | contents |
//! |---|---|
//! | `archive` | reads and writes the rows of one table |
//! | `columns` | a row as the values of its columns |
//! | `row` | the rows, their columns, and how their indexes are found in SQL |
//! | `facts` | the single values, in the table `meta` |
//! | `usage` | how much of the shared resources the rows use |

mod archive;
mod columns;
mod facts;
mod row;
mod usage;

#[cfg(test)]
mod law;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::state::{Archives, Facts, Failure, Refusal};
use agentry_core::{Commit, Receipt, State};
use rusqlite::Connection;

use super::StoreError;
use archive::Rows;
pub(super) use archive::{Stored, read_row};

/// The database, which the tables of the state share. One thread uses it.
#[derive(Clone, Debug)]
pub(super) struct Database(Arc<Mutex<Connection>>);

impl Database {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(connection)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if nothing else uses the database any more.
    pub(super) fn into_inner(self) -> Option<Connection> {
        let connection = Arc::into_inner(self.0)?;
        Some(
            connection
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// The state machine over the tables.
#[derive(Debug)]
pub(super) struct Tables {
    db: Database,
    state: State,
    /// The single values as they are stored.
    stored: Facts,
}

impl Tables {
    /// # Errors
    /// The database cannot be read, or a single value is damaged.
    pub(super) fn open(db: &Database) -> Result<Self, StoreError> {
        let stored = facts::read(&db.lock())?;
        let archives = Archives {
            agents: Box::new(Rows::of(db)),
            memory: Box::new(Rows::of(db)),
            inbox: Box::new(Rows::of(db)),
            forged: Box::new(Rows::of(db)),
            events: Box::new(Rows::of(db)),
            outbox: Box::new(Rows::of(db)),
            receipts: Box::new(Rows::of(db)),
            tasks: Box::new(Rows::of(db)),
            cards: Box::new(Rows::of(db)),
            spending: Box::new(Rows::of(db)),
            sightings: Box::new(Rows::of(db)),
            gaps: Box::new(Rows::of(db)),
        };
        Ok(Self {
            db: db.clone(),
            state: State::over(stored.clone(), archives),
            stored,
        })
    }

    /// Applies a commit. On an error the caller rolls back what was written of it.
    pub(super) fn apply(&mut self, commit: &Commit) -> Result<Receipt, StoreError> {
        self.state.apply(commit).map_err(|failure| match failure {
            Failure::Refused(Refusal::Full { reason }) => StoreError::Full { reason },
            Failure::Refused(Refusal::TooMuch { reason }) => StoreError::TooMuch { reason },
            Failure::Refused(refusal) => StoreError::Contradiction(refusal),
            Failure::Archive(error) => match error.downcast() {
                Ok(error) => *error,
                Err(other) => StoreError::Refused(other.to_string()),
            },
        })
    }

    /// Writes the single values that the commits since the last call have changed.
    ///
    /// # Errors
    /// Those of SQLite.
    pub(super) fn write_facts(&self) -> Result<(), StoreError> {
        facts::write(&self.db.lock(), &self.stored, self.state.facts())
    }

    /// Everything that was applied is stored.
    pub(super) fn keep(&mut self) {
        self.stored = self.state.facts().clone();
        self.state.reset(self.stored.clone());
    }

    /// Nothing that was applied since the last [`keep`](Self::keep) is stored.
    pub(super) fn undo(&mut self) {
        self.state.reset(self.stored.clone());
    }
}
