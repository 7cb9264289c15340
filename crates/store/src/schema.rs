//! The tables, and the version of a store.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, place, with_suffix};

/// Marks the file as a store of agentry (`PRAGMA application_id`): "agtr".
const APPLICATION_ID: i64 = 0x6167_7472;

/// The tables. SQLite stores the text of the statements, and a store is checked against it: any change
/// of one needs a new [`VERSION`], and once a version is released, a way to read its stores.
const SCHEMA: &str = include_str!("schema.sql");

/// The version that this binary reads and writes. Versions 1 to 19 were never released.
const VERSION: i64 = 20;

/// How large the write-ahead log becomes before its pages are copied into the database, in bytes. A
/// page that changes often is copied once; a larger log takes longer to read at a start after a crash.
const WAL_LIMIT: i64 = 16 << 20;

/// How many bytes of pages the writer's connection keeps: with SQLite's 2 MiB, almost every change of
/// an index reads pages again.
const CACHE: i64 = 8 << 20;

/// How many prepared statements a connection caches: more than there are different ones.
const STATEMENTS: usize = 256;

/// When a transaction is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// When it has ended: the file is what makes a commit durable.
    AtOnce,
    /// Later, and after those before it: the file repeats what a log elsewhere has.
    Later,
}

/// Sets up a connection for writing.
pub(super) fn prepare(
    connection: &Connection,
    path: &Path,
    synced: Synced,
) -> Result<(), StoreError> {
    let open = |e| StoreError::open(path, e);
    plan_once(connection, path)?;
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(open)?;
    connection
        .pragma_update(
            None,
            "synchronous",
            match synced {
                Synced::AtOnce => "full",
                Synced::Later => "normal",
            },
        )
        .map_err(open)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(open)?;
    // A negative number is a size in KiB.
    connection
        .pragma_update(None, "cache_size", -(CACHE >> 10))
        .map_err(open)?;
    let page: i64 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(open)?;
    connection
        .pragma_update(None, "wal_autocheckpoint", WAL_LIMIT / page.max(1))
        .map_err(open)?;
    // The log is cut to this size after a checkpoint has emptied it: a long read lets it grow.
    connection
        .pragma_update(None, "journal_size_limit", WAL_LIMIT)
        .map_err(open)
}

/// Creates the tables in an empty database, and marks it as a store of this version.
fn create_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}

/// A database with the tables of a store, in a temporary file that has no name once it is open. What
/// an error leaves half done stays so.
pub(super) fn temporary() -> Result<Connection, StoreError> {
    let connection = Connection::open("")?;
    plan_once(&connection, Path::new("(temporary)"))?;
    connection.pragma_update(None, "journal_mode", "off")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// A database in memory with the tables of a store.
pub(super) fn in_memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// Makes SQLite plan each statement once, whatever values are bound to it. Otherwise SQLite would
/// use the values of statements with `ORDER BY … LIMIT`, and prepare those again on every run: half
/// of the cost of a read.
pub(super) fn plan_once(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let open = |e| StoreError::open(path, e);
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Sorted rows fit into memory, and a temporary folder may be full or missing.
    connection
        .pragma_update(None, "temp_store", "memory")
        .map_err(open)?;
    // SQLite checks a page as a whole when it reads it: a damaged one is found before it is used.
    connection
        .pragma_update(None, "cell_size_check", true)
        .map_err(open)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(open)?;
    Ok(())
}

/// Creates a new store at `path`. The file appears complete or not at all, even if the process is
/// killed: a file without tables is always a damaged one.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let made = with_suffix(path, ".new");
    let io = |source| StoreError::Io {
        path: made.clone(),
        source,
    };
    for left in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(with_suffix(&made, left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    let open = |e| StoreError::open(path, e);
    place::make_private(&made)?;
    let mut connection = Connection::open(&made).map_err(open)?;
    prepare(&connection, &made, Synced::AtOnce)?;
    create_tables(&mut connection).map_err(open)?;
    // Closing empties the write-ahead log into the file, and removes it.
    connection.close().map_err(|(_, error)| open(error))?;
    super::sums::renumber(&made).map_err(io)?;
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(&made)
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    fs::rename(&made, path).map_err(io)?;
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

/// Checks that a file is a store of this version.
///
/// # Errors
/// [`StoreError::Newer`], [`StoreError::Older`], [`StoreError::Foreign`], [`StoreError::Broken`] if it
/// has no tables, and any error of SQLite.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let open = |e| StoreError::open(path, e);
    let pragma = |name: &str| -> Result<i64, StoreError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(open)
    };
    let is_ours = pragma("application_id")? == APPLICATION_ID;
    let found = pragma("user_version")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(open)?;
    let path = path.to_owned();
    let known = VERSION;
    if is_ours && found > known {
        Err(StoreError::Newer { path, found, known })
    } else if tables == 0 {
        let found = "it has no tables".to_owned();
        Err(StoreError::Broken { path, found })
    } else if !is_ours {
        Err(StoreError::Foreign { path })
    } else if found < known {
        Err(StoreError::Older { path, found, known })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use agentry_core::Standing;
    use agentry_core::rows::{
        EventKind, EventState, InboxState, OutboxState, ReceiptState, TaskState,
    };

    use super::SCHEMA;

    #[test]
    fn the_tables_know_each_word_of_a_column_and_no_other() {
        let schema = SCHEMA.split_whitespace().collect::<Vec<_>>().join(" ");
        let check = |column: &str, words: Vec<&str>| {
            let same = words.iter().map(|word| format!("{column} = '{word}'"));
            let check = format!("CHECK ({})", same.collect::<Vec<_>>().join(" OR "));
            assert!(schema.contains(&check), "{check} is not in schema.sql");
        };
        for (column, words) in [
            (
                "state",
                InboxState::ALL.iter().map(|word| word.as_str()).collect(),
            ),
            (
                "state",
                OutboxState::ALL.iter().map(|word| word.as_str()).collect(),
            ),
            (
                "state",
                ReceiptState::ALL.iter().map(|word| word.as_str()).collect(),
            ),
            (
                "state",
                TaskState::ALL.iter().map(|word| word.as_str()).collect(),
            ),
            (
                "state",
                EventState::ALL.iter().map(|word| word.as_str()).collect(),
            ),
            (
                "kind",
                EventKind::ALL.iter().map(|word| word.as_str()).collect(),
            ),
        ] {
            check(column, words);
        }
        // Best known first.
        let standings: Vec<_> = Standing::ALL
            .iter()
            .rev()
            .map(|word| word.as_str())
            .collect();
        for standings in [standings.clone(), [vec!["own"], standings].concat()] {
            check("standing", standings);
        }
    }
}
