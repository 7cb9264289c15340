//! Whether a database's pages fit together, within a time.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

/// The most faults that are listed: a damaged database usually has many.
const NAMED: usize = 10;

/// Runs a job on a database and interrupts it after `limit`. `None`: it was interrupted.
///
/// # Errors
/// The thread that interrupts it cannot be started. The inner result is SQLite's.
pub fn within<T>(
    db: &Connection,
    limit: Duration,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> io::Result<rusqlite::Result<Option<T>>> {
    let (done, ended) = mpsc::channel::<()>();
    let interrupt = db.get_interrupt_handle();
    let watch = move || {
        if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    };
    let watch = thread::Builder::new()
        .name("sqlite-limit".to_owned())
        .spawn(watch)?;
    let found = work();
    drop(done);
    // It does nothing but wait, so it has not panicked.
    drop(watch.join());
    Ok(match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    })
}

/// The first lines of SQLite's report about damaged pages. It reads the whole file, but does not
/// compare indexes with their tables.
pub(super) fn pages(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(&format!("PRAGMA quick_check({NAMED})"))?;
    let lines: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}
