//! The one connection to the database, and the jobs that use it. All of them run on its own thread.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentry_protocol::{BlockHash, ChainId, Dialect, Timestamp};

use super::ChainDbOptions;
use super::check;
use super::file::{Change, Open};
use super::query::Query;
use super::session::{Outcome, Session};
use super::work::Work;
use crate::dialect::{Signs, detect};
use crate::node::Head;
use crate::source::{Batch, Cursor, Interest, SourceError, Start, read_time};

/// The database as one thread sees it.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    chain: ChainId,
    options: ChainDbOptions,
    open: Option<Open>,
    /// The last position that was returned to each source that shares this reader, and the state of the
    /// database from which it was read.
    last: HashMap<u64, Last>,
    work: Arc<Work>,
}

#[derive(Debug)]
struct Last {
    version: Version,
    cursor: Cursor,
    more: bool,
    behind: u64,
    /// All rows that were late at that state have been delivered.
    late_is_done: bool,
}

/// A state of the database, as far as one connection can tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// How often the file had been opened: versions of two connections cannot be compared.
    opening: u64,
    data_version: i64,
}

/// Why a job ends without an answer.
#[derive(Debug)]
enum Failure {
    Database(rusqlite::Error),
    Source(SourceError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Reader {
    pub(super) fn new(
        path: PathBuf,
        chain: ChainId,
        options: ChainDbOptions,
        work: Arc<Work>,
    ) -> Self {
        Self {
            path,
            chain,
            options,
            open: None,
            last: HashMap::new(),
            work,
        }
    }

    pub(super) fn hash(&mut self, height: u64) -> Result<Option<BlockHash>, SourceError> {
        self.snapshot("reading a block's hash", |query, _| {
            Ok(query.block(height)?.map(|block| block.head.hash))
        })
        .map(Option::flatten)
    }

    pub(super) fn dialect(&mut self) -> Result<Option<Dialect>, SourceError> {
        self.snapshot("looking at its tables", |query, _| {
            let signs = Signs {
                type_column: Some(query.has_type_column()?),
                ..Signs::default()
            };
            Ok(detect(signs))
        })
        .map(Option::flatten)
    }

    pub(super) fn head(&mut self) -> Result<Option<Head>, SourceError> {
        self.snapshot("reading the head", |query, _| {
            Ok(query.head()?.map(|block| block.head))
        })
        .map(Option::flatten)
    }

    pub(super) fn time(&mut self, height: u64) -> Result<Option<Timestamp>, SourceError> {
        let text = self.snapshot("reading a block's time", |query, _| {
            query.time(height).map_err(Failure::from)
        })?;
        Ok(text.flatten().and_then(|text| read_time(&text)))
    }

    pub(super) fn damage(&mut self, limit: Duration) -> Result<Option<Vec<String>>, SourceError> {
        let path = self.path.clone();
        let looked = self.snapshot("looking for damage", |query, _| {
            let db = query.connection;
            let pages = check::within(db, limit, || check::pages(db)).map_err(|error| {
                Failure::Source(SourceError::File {
                    path: path.clone(),
                    error,
                })
            })?;
            pages.map_err(Failure::from)
        })?;
        // Without tables nothing can be damaged.
        Ok(looked.unwrap_or_else(|| Some(Vec::new())))
    }

    pub(super) fn begin(&mut self, start: Start) -> Result<Cursor, SourceError> {
        let begun = self.snapshot("finding the start", |query, _| {
            super::begin::begin(query, start).map_err(Failure::from)
        });
        Ok(begun?.unwrap_or_else(|| super::begin::nothing_yet(start)))
    }

    /// The present state of the database. A file that was touched, and in which no commit shows, is opened
    /// again, so it has another one.
    pub(super) fn version(&mut self) -> Result<Version, SourceError> {
        self.snapshot("asking for its version", |query, work| {
            Ok(Version {
                opening: work.so_far().opens,
                data_version: query.data_version()?,
            })
        })
        .map(|version| {
            version.unwrap_or(Version {
                opening: self.work.so_far().opens,
                data_version: 0,
            })
        })
    }

    /// A source does not read any more.
    pub(super) fn forget(&mut self, source: u64) {
        self.last.remove(&source);
    }

    /// Reads on from the `cursor` of a source.
    pub(super) fn read(
        &mut self,
        source: u64,
        cursor: &Cursor,
        interest: &dyn Interest,
        limit: usize,
    ) -> Result<Batch, SourceError> {
        if let Some(behind) = self.nothing_new(source, cursor)? {
            return Ok(batch(Vec::new(), cursor.clone(), false, behind));
        }
        let known = self.last.remove(&source);
        let budget = self.options.rows_per_read;
        let read = self.snapshot("reading", |query, work| {
            let version = Version {
                opening: work.so_far().opens,
                data_version: query.data_version()?,
            };
            let unchanged = known.as_ref().is_some_and(|last| {
                last.version == version && last.late_is_done && last.cursor == *cursor
            });
            let session = Session::new(query, cursor.clone(), interest, work, limit, budget);
            match session.run(unchanged)? {
                Ok(outcome) => Ok((outcome, version)),
                Err(error) => Err(Failure::Source(error)),
            }
        })?;
        let Some((outcome, version)) = read else {
            let behind = cursor.next_height();
            return Ok(self::batch(Vec::new(), cursor.clone(), false, behind));
        };
        let Outcome {
            batch,
            late_is_done,
        } = outcome;
        let (cursor, more, behind) = (batch.cursor.clone(), batch.more, batch.behind);
        let last = Last {
            version,
            cursor,
            more,
            behind,
            late_is_done,
        };
        self.last.insert(source, last);
        Ok(batch)
    }

    /// Whether the database is unchanged since the source's last read returned `cursor`, and how far the
    /// chain is behind it then. It only checks the file and asks for its version.
    fn nothing_new(&mut self, source: u64, cursor: &Cursor) -> Result<Option<u64>, SourceError> {
        let change = self.look()?;
        let known = self
            .last
            .get(&source)
            .filter(|last| !last.more && last.cursor == *cursor);
        let (Some(open), Some(last)) = (&self.open, known) else {
            if change == Change::Touched {
                self.close();
            }
            return Ok(None);
        };
        let query = Query {
            connection: &open.connection,
            chain: self.chain.as_str(),
            dialect: self.options.dialect,
        };
        match query.data_version() {
            Ok(version) if version != last.version.data_version => Ok(None),
            Ok(_) if change == Change::Same => Ok(Some(last.behind)),
            Ok(_) => {
                // Written to, but not by a commit: SQLite's cached pages may belong to another
                // database.
                self.close();
                Ok(None)
            }
            Err(error) => Err(self.failed("asking for its version", error)),
        }
    }

    /// Checks the file, and closes the connection if it was replaced or removed.
    fn look(&mut self) -> Result<Change, SourceError> {
        let Some(open) = &mut self.open else {
            return Ok(Change::Same);
        };
        let change = open.change(&self.path)?;
        if matches!(change, Change::Replaced | Change::Gone) {
            tracing::debug!(chain.db = %self.path.display(), ?change, "the chain database was replaced or removed; its connection is closed");
            self.close();
        }
        Ok(change)
    }

    fn close(&mut self) {
        self.open = None;
        self.last.clear();
    }

    /// Runs `job` in one short read transaction. None: the node has not made its tables yet.
    fn snapshot<T>(
        &mut self,
        doing: &'static str,
        job: impl Fn(Query<'_>, &Work) -> Result<T, Failure>,
    ) -> Result<Option<T>, SourceError> {
        // An immutable read is repeated when the file changed in between. The second one is
        // ordinary, unless the file is being copied over, which takes a while.
        for _ in 0..2 {
            if self.look()? == Change::Touched {
                self.close();
            }
            let open = match self.open.take() {
                Some(open) => open,
                None => {
                    self.last.clear();
                    self.work.count_open();
                    Open::at(&self.path, self.options.busy_timeout)?
                }
            };
            let open = self.open.insert(open);
            self.work.count_snapshot();
            let query = Query {
                connection: &open.connection,
                chain: self.chain.as_str(),
                dialect: self.options.dialect,
            };
            let result = (|| {
                let transaction = open.connection.unchecked_transaction()?;
                let answer = if query.has_tables()? {
                    Some(job(query, &self.work)?)
                } else {
                    None
                };
                transaction.rollback()?;
                Ok(answer)
            })();
            let sound = open.was_sound()?;
            if sound {
                return match result {
                    Ok(answer) => Ok(answer),
                    Err(Failure::Database(error)) => Err(self.failed(doing, error)),
                    Err(Failure::Source(error)) => Err(error),
                };
            }
            self.close();
        }
        Err(SourceError::Replaced {
            path: self.path.clone(),
        })
    }

    /// An error of SQLite. Unless the database was only busy, the connection is not used again.
    fn failed(&mut self, doing: &'static str, error: rusqlite::Error) -> SourceError {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        if !matches!(
            error.sqlite_error_code(),
            Some(DatabaseBusy | DatabaseLocked)
        ) {
            self.close();
        }
        SourceError::Database {
            path: self.path.clone(),
            doing,
            error,
        }
    }
}

pub(super) fn batch(
    events: Vec<crate::source::ChainEvent>,
    cursor: Cursor,
    more: bool,
    behind: u64,
) -> Batch {
    Batch {
        events,
        read_through: cursor.tip.clone(),
        cursor,
        more,
        behind,
    }
}
