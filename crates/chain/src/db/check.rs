//! Whether a database's pages fit together, within a time.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

/// How many faults are named: one that is found has others beside it.
const NAMED: usize = 10;

/// Does something with a database, and interrupts it after `limit`: `None`.
///
/// # Errors
/// No thread can be started that interrupts it. Within: what SQLite says.
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

/// What is wrong with the pages, some lines of it. It reads the whole file, but does not compare
/// indexes with their tables.
pub(super) fn pages(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(&format!("PRAGMA quick_check({NAMED})"))?;
    let lines: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}
