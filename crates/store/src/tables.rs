//! The state machine over the log and the tables. No other module changes them.
//!
//! [`agentry_core::State`] decides what a commit changes. Its rows are those of the database: each
//! row that a commit needs is read from there, once. A group of commits is one record of the log,
//! which makes it durable. What many groups have changed is written to the tables together, each
//! row once, in one transaction that also cuts the log. So the tables and the rest of the log are
//! always the state, whenever the process ends. A log that is elsewhere is not cut: the tables
//! remember the place and the checksum of the last record that they have.
//!
//! | module | contents |
//! |---|---|
//! | `archive` | reads and writes the rows of one table |
//! | `columns` | a row as the values of its columns |
//! | `row` | the rows, their columns, and how their indexes are found in SQL |
//! | `facts` | the single values, in the table `meta` |
//! | `once` | commits to tables that no process has open |
//! | `outcomes` | compares what the same records come to on the hosts that share a log |
//! | `role` | what this process does with the log: appends, or follows |
//! | `usage` | how much of the shared resources the rows use |

mod archive;
mod columns;
mod facts;
mod once;
mod outcomes;
mod role;
mod row;
pub(super) mod usage;

#[cfg(test)]
mod law;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::state::table::ArchiveError;
use agentry_core::state::{Archives, Facts, Failure, Refusal, Unwritten};
use agentry_core::{Changes, Commit, State};
use rusqlite::Connection;

use super::error::Trouble;
use super::log::{self, Log, LogError, Mark, Position, Record};
use super::watch::Publisher;
use super::{StoreError, meta};
use archive::Rows;
pub(super) use archive::{Stored, read_row, select_where};
pub(super) use facts::{read as read_facts, write as write_facts};
pub(super) use once::change;
use outcomes::Outcomes;
use role::Role;

/// The database, which the tables of the state share. One thread uses it.
#[derive(Clone, Debug)]
pub(super) struct Database {
    connection: Arc<Mutex<Connection>>,
    /// Tells watchers of the rows that change.
    publisher: Publisher,
}

impl Database {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection: Arc::new(Mutex::new(connection)),
            publisher: Publisher::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watchers of the rows that change.
    pub(super) const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The connection, if nothing else uses the database any more.
    pub(super) fn into_inner(self) -> Option<Connection> {
        let connection = Arc::into_inner(self.connection)?.into_inner();
        Some(connection.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn run(&self, sql: &str) -> Result<(), StoreError> {
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

/// The tables of a database.
pub(super) fn archives(db: &Database) -> Archives {
    Archives {
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
        tokens: Box::new(Rows::of(db)),
        notices: Box::new(Rows::of(db)),
        webhooks: Box::new(Rows::of(db)),
        pushes: Box::new(Rows::of(db)),
    }
}

/// Whether a commit was applied: the condition of those that build on it.
#[derive(Clone, Debug, Default)]
pub struct Applied(Arc<AtomicBool>);

impl Applied {
    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, applied: bool) {
        self.0.store(applied, Ordering::Release);
    }
}

/// A commit to apply.
#[derive(Debug)]
pub(super) struct Pending {
    commit: Commit,
    /// It is stale unless this one was applied.
    after: Option<Applied>,
    applied: Applied,
}

impl Pending {
    pub(super) fn new(commit: Commit, after: Option<Applied>) -> Self {
        Self {
            commit,
            after,
            applied: Applied::default(),
        }
    }

    /// Whether it was applied, once that is decided.
    pub(super) fn applied(&self) -> Applied {
        self.applied.clone()
    }

    /// The answer while another host makes the changes.
    fn refuse(&self) -> Result<Changes, StoreError> {
        self.applied.set(false);
        Err(StoreError::Following)
    }

    /// Whether the commit on which it builds was not applied, and so neither is this one.
    fn is_void(&self) -> bool {
        self.after.as_ref().is_some_and(|after| !after.get())
    }
}

/// The state machine over the log and the tables.
///
/// What commits change is in the log first and in the state at once; the tables follow when
/// [`write`](Self::write) is called.
#[derive(Debug)]
pub(super) struct Tables {
    db: Database,
    log: Box<dyn Log>,
    role: Role,
    state: State,
    /// The last record that the state has.
    applied: Mark,
    /// What the records since the last comparison came to, if the log is elsewhere.
    outcomes: Outcomes,
    /// The last record that the tables have.
    written: Mark,
    /// The single values as the tables have them.
    stored: Facts,
    /// The version of the database that the state knows; `None` if the state may differ from the
    /// log.
    version: Option<i64>,
    /// Why an open row was left out, until it is reported.
    unreadable: Option<StoreError>,
}

impl Tables {
    /// The tables over the log in their own file.
    ///
    /// # Errors
    /// The database cannot be read, or a value in it is damaged.
    pub(super) fn open(db: &Database, log: Box<dyn Log>) -> Result<Self, StoreError> {
        let mut tables = Self::over(db, log, Role::Alone);
        tables.refresh()?;
        Ok(tables)
    }

    fn over(db: &Database, log: Box<dyn Log>, role: Role) -> Self {
        Self {
            db: db.clone(),
            log,
            role,
            state: State::over(Facts::default(), archives(db)),
            applied: Mark::START,
            outcomes: Outcomes::default(),
            written: Mark::START,
            stored: Facts::default(),
            version: None,
            unreadable: None,
        }
    }

    /// Makes the state that of the log, unless it is: after an error, or if another program has
    /// changed the database. While the log is only followed, the state is that of the tables and goes
    /// on from there.
    fn refresh(&mut self) -> Result<(), StoreError> {
        if let Role::Ended(trouble) = &self.role {
            return Err(trouble.clone().into());
        }
        let version = self.db.version()?;
        if self.version == Some(version) {
            return Ok(());
        }
        self.version = None;
        let (facts, written) = {
            let db = self.db.lock();
            let written = match self.role.is_elsewhere() {
                true => log::mark(&db)?,
                false => Some(Mark {
                    at: log::written(&db)?,
                    ..Mark::START
                }),
            };
            (facts::read(&db)?, written.unwrap_or(Mark::START))
        };
        if self.role.is_elsewhere() {
            self.check(&written)?;
        }
        let unreadable = self.state.reset(facts.clone()).map_err(unboxed)?;
        self.unreadable = unreadable.map(unboxed);
        (self.stored, self.written, self.applied) = (facts, written, written);
        self.outcomes = Outcomes::after(written.at);
        if !self.is_following() {
            while self.advance()? > 0 {}
            self.still_leads()?;
        }
        self.version = Some(version);
        Ok(())
    }

    /// Applies some of the records that the state lacks. Returns how many.
    fn advance(&mut self) -> Result<usize, StoreError> {
        let after = self.applied.at;
        let records = self.log.read(after, READ_BYTES);
        let records = records.map_err(|error| self.ended(error))?;
        let is_trimmed = |first: &Record| self.role.is_elsewhere() && first.at > after.next();
        if records.first().is_some_and(is_trimmed) {
            return Err(self.ended(LogError::Trimmed { after }));
        }
        // An error may leave the state half changed.
        let version = self.version.take();
        for record in &records {
            let applied = self.apply_record(record);
            applied.map_err(|error| self.ended(error))?;
        }
        self.version = version;
        Ok(records.len())
    }

    fn apply_record(&mut self, record: &Record) -> Result<(), LogError> {
        let next = self.applied.at.next();
        if record.at != next {
            return Err(LogError::Damaged {
                at: next,
                what: format!("is missing, and the record {} is there", record.at),
            });
        }
        let damaged = |what| LogError::Damaged {
            at: record.at,
            what,
        };
        let is_elsewhere = self.role.is_elsewhere();
        for commit in &record.commits {
            if let Commit::Outcomes { version, hash } = commit {
                self.outcomes.compare(record.at, version, hash)?;
            }
            let applied = self.state.apply(commit);
            let changes = applied.map_err(|failure| match failure {
                Failure::Refused(refusal) => {
                    damaged(format!("holds a commit that is refused: {refusal}"))
                }
                Failure::Archive(error) => match unboxed(error) {
                    StoreError::Value(what) if is_elsewhere => LogError::Unsound(what),
                    error => error.into(),
                },
            })?;
            if is_elsewhere {
                self.outcomes.add(&changes);
            }
        }
        self.applied = record.mark();
        self.outcomes.end(record.at);
        Ok(())
    }

    /// Applies commits and makes them durable, together if possible. Returns the answer to each, in
    /// their order; if the store as a whole refuses, the answers to those before, and why.
    pub(super) fn apply(
        &mut self,
        pending: &[&Pending],
    ) -> (Vec<Result<Changes, StoreError>>, Option<Trouble>) {
        if self.is_following() {
            return (pending.iter().map(|one| one.refuse()).collect(), None);
        }
        match (self.apply_together(pending), pending) {
            (Ok(answers), _) => (answers, None),
            (Err(error), _) if is_whole(&error) => (Vec::new(), error.trouble()),
            // A row cannot be read: only the commit that needs it fails.
            (Err(error), [_]) => (vec![Err(error)], None),
            (Err(_), _) => {
                let mut answers = Vec::with_capacity(pending.len());
                for one in pending {
                    let (answer, trouble) = self.apply(&[*one]);
                    answers.extend(answer);
                    if trouble.is_some() {
                        return (answers, trouble);
                    }
                }
                (answers, None)
            }
        }
    }

    /// Applies commits, and appends them to the log as one record. After an error none of them is
    /// applied.
    fn apply_together(
        &mut self,
        pending: &[&Pending],
    ) -> Result<Vec<Result<Changes, StoreError>>, StoreError> {
        if self.role.is_elsewhere() {
            return self.apply_elsewhere(pending);
        }
        self.transaction(Begin::ToWrite, |tables| {
            tables.refresh()?;
            let (answers, group) = tables.apply_each(pending)?;
            if !group.is_empty() {
                tables.applied = tables.log.append(&group)?;
            }
            Ok(answers)
        })
    }

    /// Applies commits to the state. Returns the answers, and what is to be appended to the log.
    fn apply_each<'a>(&mut self, pending: &[&'a Pending]) -> Result<Group<'a>, StoreError> {
        let mut answers = Vec::with_capacity(pending.len());
        let mut group = Vec::with_capacity(pending.len());
        let is_elsewhere = self.role.is_elsewhere();
        for one in pending {
            if one.is_void() {
                one.applied.set(false);
                answers.push(Ok(Changes::stale()));
                continue;
            }
            let applied = self.state.apply(&one.commit);
            one.applied
                .set(applied.as_ref().is_ok_and(Changes::is_applied));
            answers.push(match applied {
                Ok(changes) => {
                    group.push(&one.commit);
                    if is_elsewhere {
                        self.outcomes.add(&changes);
                    }
                    Ok(changes)
                }
                Err(Failure::Refused(refusal)) => Err(refused(refusal)),
                Err(Failure::Archive(error)) => return Err(unboxed(error)),
            });
        }
        Ok((answers, group))
    }

    /// How much the tables lack.
    pub(super) fn unwritten(&self) -> Unwritten {
        self.state.unwritten()
    }

    /// Whether the tables lack anything.
    pub(super) fn is_behind(&self) -> bool {
        self.version.is_none() || self.applied.at != self.written.at
    }

    /// The place of the last record that the state has.
    pub(super) const fn position(&self) -> Position {
        self.applied.at
    }

    /// Writes to the tables what they lack, each row once, and cuts the log.
    ///
    /// # Errors
    /// The tables are as they were, and so is the log.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        let is_elsewhere = self.role.is_elsewhere();
        if is_elsewhere {
            // It may wait for the log, and no transaction waits with it.
            self.refresh()?;
        }
        let written = self.transaction(Begin::ToWrite, |tables| {
            tables.refresh()?;
            if !tables.is_behind() {
                return Ok(());
            }
            tables.state.write().map_err(unboxed)?;
            {
                let db = tables.db.lock();
                let Mark { at, sum } = tables.applied;
                facts::write(&db, &tables.stored, tables.state.facts())?;
                meta::write(&db, meta::POSITION, Some(at.to_string()))?;
                if is_elsewhere {
                    meta::write(&db, meta::SUM, Some(sum.to_string()))?;
                    return Ok(());
                }
            }
            Ok(tables.log.cut(tables.applied.at)?)
        });
        self.db.publisher().end(written.is_ok());
        written?;
        self.stored = self.state.facts().clone();
        self.written = self.applied;
        self.state.trim();
        if is_elsewhere {
            self.log.cut(self.written.at)?;
        }
        Ok(())
    }

    /// Why an open row could not be read, and was left out; once.
    pub(super) fn unreadable(&mut self) -> Option<StoreError> {
        self.unreadable.take()
    }

    /// Asks the state.
    ///
    /// # Errors
    /// The state cannot be that of the log, or an archive cannot be read.
    pub(super) fn query<T>(&mut self, query: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        self.refresh()?;
        let found = self.state.query(query).map_err(unboxed);
        // It may have read rows.
        if !self.is_behind() {
            self.state.trim();
        }
        found
    }

    /// Runs something in one transaction of SQLite. After an error, the state is read from the tables
    /// and the log again before it is used.
    fn transaction<T>(
        &mut self,
        begin: Begin,
        run: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db.run(match begin {
            Begin::ToRead => "BEGIN",
            Begin::ToWrite => "BEGIN IMMEDIATE",
        })?;
        let done = run(self).and_then(|done| {
            // The local log ends the transaction by itself.
            if !self.db.lock().is_autocommit() {
                self.db.run("COMMIT")?;
            }
            Ok(done)
        });
        if done.is_err() {
            self.version = None;
            // SQLite may have rolled back by itself.
            let _ = self.db.run("ROLLBACK");
        }
        done
    }
}

/// The answers to commits, and those that are to be appended to the log.
type Group<'a> = (Vec<Result<Changes, StoreError>>, Vec<&'a Commit>);

/// What a transaction of SQLite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Several reads.
    ToRead,
    /// Writing: no other process can write meanwhile.
    ToWrite,
}

/// How many rows the tables may lack: writing them takes some 50 ms, for which commits wait.
const MAX_ROWS: usize = 2_000;

/// How many bytes the state may hold in memory for what the tables lack, and for what it has read.
const MAX_BYTES: usize = 16 << 20;

/// Whether the tables lack so much that they must be written.
pub(super) const fn is_much(lacks: Unwritten) -> bool {
    lacks.rows >= MAX_ROWS || lacks.bytes >= MAX_BYTES
}

/// How many bytes of the log are read at a time.
const READ_BYTES: usize = 4 << 20;

/// Whether an error affects the store as a whole.
fn is_whole(error: &StoreError) -> bool {
    error.trouble().is_some_and(|trouble| trouble.is_whole())
}

pub(super) fn refused(refusal: Refusal) -> StoreError {
    match refusal {
        Refusal::Full { reason } => StoreError::Full { reason },
        Refusal::TooMuch { reason } => StoreError::TooMuch { reason },
        refusal @ (Refusal::NoToken(_) | Refusal::SameToken(_) | Refusal::TokenBudget { .. }) => {
            StoreError::Token(refusal)
        }
        other => StoreError::Contradiction(other),
    }
}

/// The archives are of this store, and so are their errors.
pub(super) fn unboxed(error: ArchiveError) -> StoreError {
    match error.downcast() {
        Ok(error) => *error,
        Err(other) => StoreError::Refused(other.to_string()),
    }
}
