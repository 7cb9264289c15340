//! What the chain and a store hold, read from their databases.

use std::path::Path;
use std::time::Duration;

use agentry::cli::bench::pings::wait;
use agentry_devnet::BlockWriter;
use agentry_protocol::Address;
use rusqlite::{Connection, OpenFlags};

/// How many `pong`s to an address are on the chain, and from how many senders.
pub(crate) fn answers(node: &Path, to: &Address) -> anyhow::Result<(u64, u64)> {
    let sql = "SELECT count(*), count(DISTINCT sender) FROM \"transaction\"
               WHERE recipient = ?1 AND payload LIKE '%\"pong\"%'";
    let db = open(&node.join("chain.db"))?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (answers, senders) = db.query_row(sql, [to.as_str()], read)?;
    Ok((answers.unsigned_abs(), senders.unsigned_abs()))
}

/// How many messages a store holds.
pub(crate) fn arrived(store: &Path) -> anyhow::Result<u64> {
    let db = open(store)?;
    let count: i64 = db.query_row("SELECT count(*) FROM inbox", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Opens a database, which costs its writer little: it is asked again and again.
fn open(path: &Path) -> anyhow::Result<Connection> {
    std::thread::sleep(Duration::from_millis(20));
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

/// Waits for three more blocks: a second answer would be in one of them.
pub(crate) fn three_blocks(blocks: &BlockWriter) -> anyhow::Result<()> {
    let wanted = usize::try_from(blocks.height()?.0)? + 3;
    wait("blocks", wanted, || Ok(blocks.height()?.0)).map(drop)
}
