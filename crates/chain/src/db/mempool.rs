//! [`MempoolDb`]: which transactions are pending, according to the node's own `mempool.db`.
//!
//! Over RPC the mempool comes as a whole, with everything that others have posted, and the call
//! fails while one pending payload cannot be written as JSON. In the database a hash is looked up,
//! whatever else is pending: a seek in its primary key, and no content is read.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_protocol::{ChainId, Dialect, TransactionHash};
use rusqlite::{Connection, params};

use super::file::Open;
use crate::dialect;
use crate::source::SourceError;

/// How long a lookup waits for a lock. Readers of a WAL database wait only while it is recovered.
const BUSY: Duration = Duration::from_millis(50);

/// How often a lookup is repeated when the file was written to in between.
const TRIES: u32 = 3;

/// The mempool of a node, read directly from its file.
#[derive(Debug, Clone)]
pub struct MempoolDb {
    chain_db: PathBuf,
    chain: ChainId,
}

impl MempoolDb {
    /// The mempool of the node whose database is at `chain_db`, for the chain `chain`. Nothing is
    /// opened yet. `None`: nodes of this dialect keep it elsewhere, and a file of that name may be an old
    /// one.
    #[must_use]
    pub fn beside(dialect: Dialect, chain_db: &Path, chain: ChainId) -> Option<Self> {
        // Absolute, so that a change of the working directory does not change the file.
        let chain_db = std::path::absolute(chain_db).unwrap_or_else(|_| chain_db.to_owned());
        dialect::has_mempool_beside(dialect).then_some(Self { chain_db, chain })
    }

    /// The file. A symbolic link to the database is followed: the file is beside its target.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let real = fs::canonicalize(&self.chain_db);
        real.as_deref()
            .unwrap_or(&self.chain_db)
            .with_file_name("mempool.db")
    }

    /// Which of these transactions are pending, in one snapshot. Blocks for about a millisecond.
    ///
    /// # Errors
    /// The file is missing or cannot be read. An error is no evidence that a transaction is absent.
    pub fn pending(
        &self,
        hashes: &[TransactionHash],
    ) -> Result<HashSet<TransactionHash>, SourceError> {
        let path = self.path();
        for _ in 0..TRIES {
            let open = Open::at(&path, BUSY)?;
            let found = pending(&open.connection, &self.chain, hashes);
            let found = found.map_err(|error| SourceError::Database {
                path: path.clone(),
                doing: "looking at the mempool",
                error,
            })?;
            if open.was_sound()? {
                return Ok(found);
            }
        }
        Err(SourceError::Replaced { path })
    }
}

fn pending(
    db: &Connection,
    chain: &ChainId,
    hashes: &[TransactionHash],
) -> rusqlite::Result<HashSet<TransactionHash>> {
    let snapshot = db.unchecked_transaction()?;
    let mut statement =
        snapshot.prepare("SELECT 1 FROM mempool WHERE chain_id = ?1 AND tx_hash = ?2")?;
    let mut found = HashSet::new();
    for hash in hashes {
        if statement.exists(params![chain.as_str(), hash.to_string()])? {
            found.insert(*hash);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> TransactionHash {
        TransactionHash::from_bytes([byte; 32])
    }

    fn beside(chain_db: &Path) -> MempoolDb {
        MempoolDb::beside(Dialect::April2026, chain_db, chain()).unwrap()
    }

    fn chain() -> ChainId {
        "ait-devnet".parse().unwrap()
    }

    /// A mempool as the node makes it, which stays open.
    fn node(dir: &Path) -> Connection {
        let db = Connection::open(dir.join("mempool.db")).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.execute_batch(
            "CREATE TABLE mempool (chain_id TEXT NOT NULL, tx_hash TEXT NOT NULL,
                content TEXT NOT NULL, fee INTEGER DEFAULT 0, size_bytes INTEGER DEFAULT 0,
                received_at REAL NOT NULL, PRIMARY KEY (chain_id, tx_hash))",
        )
        .unwrap();
        db
    }

    fn add(db: &Connection, chain: &str, hash: TransactionHash, content: &str) {
        db.execute(
            "INSERT INTO mempool (chain_id, tx_hash, content, received_at) VALUES (?1, ?2, ?3, 0)",
            params![chain, hash.to_string(), content],
        )
        .unwrap();
    }

    #[test]
    fn a_hash_is_found_whatever_else_is_pending() {
        let dir = tempfile::tempdir().unwrap();
        let db = node(dir.path());
        add(&db, "ait-devnet", hash(1), "{}");
        add(&db, "ait-other", hash(2), "{}");
        let lone = format!("\"\\ud800{}\"", "x".repeat(1_100_000));
        add(&db, "ait-devnet", hash(3), &lone);
        let mempool = beside(&dir.path().join("chain.db"));
        let found = mempool.pending(&[hash(1), hash(2), hash(9)]).unwrap();
        assert_eq!(found, [hash(1)].into());
        // The node goes on writing.
        db.execute(
            "DELETE FROM mempool WHERE tx_hash = ?1",
            [hash(1).to_string()],
        )
        .unwrap();
        add(&db, "ait-devnet", hash(9), "{}");
        let found = mempool.pending(&[hash(1), hash(2), hash(9)]).unwrap();
        assert_eq!(found, [hash(9)].into());
    }

    #[test]
    fn a_node_that_has_stopped_is_read_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let db = node(dir.path());
        add(&db, "ait-devnet", hash(1), "{}");
        drop(db);
        let mempool = beside(&dir.path().join("chain.db"));
        assert_eq!(mempool.pending(&[hash(1)]).unwrap(), [hash(1)].into());
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["mempool.db"]);
    }

    #[test]
    fn what_is_no_mempool_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mempool = beside(&dir.path().join("chain.db"));
        assert!(mempool.pending(&[]).is_err());
        fs::write(
            mempool.path(),
            "this is no database, and it is long enough to be one",
        )
        .unwrap();
        assert!(mempool.pending(&[hash(1)]).is_err());
        fs::remove_file(mempool.path()).unwrap();
        let db = Connection::open(mempool.path()).unwrap();
        db.execute_batch("CREATE TABLE other (x)").unwrap();
        assert!(mempool.pending(&[hash(1)]).is_err());
    }

    #[test]
    fn a_link_to_the_database_is_followed() {
        let (real, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(real.path().join("chain.db"), "").unwrap();
        let link = links.path().join("chain.db");
        std::os::unix::fs::symlink(real.path().join("chain.db"), &link).unwrap();
        let mempool = beside(&link);
        let real = fs::canonicalize(real.path()).unwrap();
        assert_eq!(mempool.path(), real.join("mempool.db"));
    }
}
