//! The tables, and the migrations from older ones.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Marks the file as ours (`PRAGMA application_id`): "agtr".
const APPLICATION_ID: i64 = 0x6167_7472;

/// One step from each version to the next: the first makes version 1 from nothing.
///
/// A step is never changed once it was released; tests hold a file of every version.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
    include_str!("schema/v4.sql"),
    include_str!("schema/v5.sql"),
];

/// How many prepared statements a connection keeps: more than there are different ones.
const STATEMENTS: usize = 128;

/// The version that this binary writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Makes the tables or brings them up to date, and sets the connection up for writing.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let open = |e| StoreError::open(path, e);
    let found = version(connection, path)?;
    plan_once(connection, path)?;
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(open)?;
    connection
        .pragma_update(None, "synchronous", "full")
        .map_err(open)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(open)?;
    for step in found..VERSION {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(open)?;
        let sql = usize::try_from(step)
            .ok()
            .and_then(|step| MIGRATIONS.get(step));
        transaction
            .execute_batch(sql.copied().unwrap_or_default())
            .map_err(open)?;
        transaction
            .pragma_update(None, "user_version", step + 1)
            .map_err(open)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(open)?;
        transaction.commit().map_err(open)?;
    }
    Ok(())
}

/// Has each statement planned once, whatever values are bound to it. SQLite would otherwise look at
/// the values of those with `ORDER BY … LIMIT`, and prepare them anew at every run: half of what a
/// read costs.
pub(super) fn plan_once(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let open = |e| StoreError::open(path, e);
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(open)?;
    Ok(())
}

/// Checks that the tables are those that this binary reads.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection, path)?;
    if found < VERSION {
        return Err(StoreError::Older {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(())
}

/// The version of the file; 0 for an empty one.
fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let pragma = |name: &str| -> Result<i64, StoreError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|e| StoreError::open(path, e))
    };
    let found = pragma("user_version")?;
    if found > VERSION && pragma("application_id")? == APPLICATION_ID {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| StoreError::open(path, e))?;
    if tables > 0 && pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    Ok(found)
}
