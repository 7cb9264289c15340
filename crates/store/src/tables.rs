//! The state machine over the tables of SQLite. No other module changes them.
//!
//! [`agentry_core::State`] decides what a commit changes. Its tables are those of the database:
//! each row that a commit needs is read from there, once, and what a group of commits has changed is
//! written there, each row once, in one transaction.
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

use agentry_core::state::table::ArchiveError;
use agentry_core::state::{Archives, Facts, Failure, Refusal};
use agentry_core::{Commit, Receipt, State};
use rusqlite::Connection;

use super::StoreError;
use super::error::Trouble;
use archive::Rows;
pub(super) use archive::{Stored, read_row, select_where};

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
        let connection = Arc::into_inner(self.0)?.into_inner();
        Some(connection.unwrap_or_else(PoisonError::into_inner))
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.lock().prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// A number that changes when another connection has changed the database.
    fn version(&self) -> Result<i64, StoreError> {
        let db = self.lock();
        let mut version = db.prepare_cached("PRAGMA data_version")?;
        Ok(version.query_row([], |row| row.get(0))?)
    }
}

/// The state machine over the tables.
#[derive(Debug)]
pub(super) struct Tables {
    db: Database,
    state: State,
    /// The single values as they are stored.
    stored: Facts,
    /// The version of the database that the state knows.
    version: i64,
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
            version: db.version()?,
        })
    }

    /// Applies commits, in one SQLite transaction if possible, and makes them durable. Returns the
    /// answer to each, in their order; if the store as a whole refuses, the answers to those before,
    /// and why.
    pub(super) fn apply(
        &mut self,
        commits: &[&Commit],
    ) -> (Vec<Result<Receipt, StoreError>>, Option<Trouble>) {
        match (self.apply_together(commits), commits) {
            (Ok(answers), _) => (answers, None),
            (Err(error), _) if is_whole(&error) => (Vec::new(), error.trouble()),
            // A row cannot be read or written: only the commit that does so fails.
            (Err(error), [_]) => (vec![Err(error)], None),
            (Err(_), _) => {
                let mut answers = Vec::with_capacity(commits.len());
                for commit in commits {
                    let (answer, trouble) = self.apply(&[*commit]);
                    answers.extend(answer);
                    if trouble.is_some() {
                        return (answers, trouble);
                    }
                }
                (answers, None)
            }
        }
    }

    /// Applies commits in one SQLite transaction. After an error none of them is applied.
    fn apply_together(
        &mut self,
        commits: &[&Commit],
    ) -> Result<Vec<Result<Receipt, StoreError>>, StoreError> {
        self.db.run("BEGIN IMMEDIATE")?;
        let applied = self.apply_all(commits).and_then(|answers| {
            self.db.run("COMMIT")?;
            Ok(answers)
        });
        if applied.is_ok() {
            self.stored = self.state.facts().clone();
            self.state.trim();
        } else {
            self.state.reset(self.stored.clone());
            // SQLite may have rolled back by itself.
            let _ = self.db.run("ROLLBACK");
        }
        applied
    }

    fn apply_all(
        &mut self,
        commits: &[&Commit],
    ) -> Result<Vec<Result<Receipt, StoreError>>, StoreError> {
        let version = self.db.version()?;
        if version != self.version {
            self.stored = facts::read(&self.db.lock())?;
            self.state.reset(self.stored.clone());
            self.version = version;
        }
        let mut answers = Vec::with_capacity(commits.len());
        for commit in commits {
            let answer = match self.state.apply(commit) {
                Ok(receipt) => Ok(receipt),
                Err(Failure::Refused(refusal)) => Err(refused(refusal)),
                Err(Failure::Archive(error)) => return Err(unboxed(error)),
            };
            answers.push(answer);
        }
        self.state.write().map_err(unboxed)?;
        facts::write(&self.db.lock(), &self.stored, self.state.facts())?;
        Ok(answers)
    }
}

/// Whether an error affects the store as a whole.
fn is_whole(error: &StoreError) -> bool {
    matches!(
        error.trouble(),
        Some(Trouble::Refusal(_) | Trouble::Pages(_))
    )
}

fn refused(refusal: Refusal) -> StoreError {
    match refusal {
        Refusal::Full { reason } => StoreError::Full { reason },
        Refusal::TooMuch { reason } => StoreError::TooMuch { reason },
        other => StoreError::Contradiction(other),
    }
}

/// The archives are of this store, and so are their errors.
fn unboxed(error: ArchiveError) -> StoreError {
    match error.downcast() {
        Ok(error) => *error,
        Err(other) => StoreError::Refused(other.to_string()),
    }
}
