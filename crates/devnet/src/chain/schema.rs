//! The tables, exactly as AITBC's node creates them, and two additional ones whose names begin with
//! `devnet_`: readers of the chain ignore those.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use agentry_protocol::Dialect;
use rusqlite::{Connection, OpenFlags};

use super::error::{ChainError, Doing as _};

const CHAIN: &str = "
CREATE TABLE IF NOT EXISTS block (
    id INTEGER NOT NULL,
    chain_id VARCHAR NOT NULL,
    height INTEGER NOT NULL,
    hash VARCHAR NOT NULL,
    parent_hash VARCHAR NOT NULL,
    proposer VARCHAR NOT NULL,
    timestamp DATETIME NOT NULL,
    tx_count INTEGER NOT NULL,
    state_root VARCHAR,
    block_metadata VARCHAR,
    PRIMARY KEY (id),
    CONSTRAINT uix_block_chain_height UNIQUE (chain_id, height)
);
CREATE UNIQUE INDEX IF NOT EXISTS ix_block_hash ON block (hash);
CREATE INDEX IF NOT EXISTS ix_block_chain_id ON block (chain_id);
CREATE INDEX IF NOT EXISTS ix_block_height ON block (height);
CREATE INDEX IF NOT EXISTS ix_block_timestamp ON block (timestamp);

CREATE TABLE IF NOT EXISTS \"transaction\" (
    id INTEGER NOT NULL,
    chain_id VARCHAR NOT NULL,
    tx_hash VARCHAR NOT NULL,
    block_height INTEGER,
    sender VARCHAR NOT NULL,
    recipient VARCHAR NOT NULL,
    payload JSON NOT NULL,
    created_at DATETIME NOT NULL,
    nonce INTEGER NOT NULL,
    value INTEGER NOT NULL,
    fee INTEGER NOT NULL,
    status VARCHAR NOT NULL,
    timestamp VARCHAR,
    tx_metadata VARCHAR,
    PRIMARY KEY (id),
    CONSTRAINT uix_tx_chain_hash UNIQUE (chain_id, tx_hash)
);
CREATE INDEX IF NOT EXISTS ix_transaction_created_at ON \"transaction\" (created_at);
CREATE INDEX IF NOT EXISTS ix_transaction_tx_hash ON \"transaction\" (tx_hash);
CREATE INDEX IF NOT EXISTS ix_transaction_block_height ON \"transaction\" (block_height);
CREATE INDEX IF NOT EXISTS ix_transaction_chain_id ON \"transaction\" (chain_id);

CREATE TABLE IF NOT EXISTS receipt (
    id INTEGER NOT NULL,
    chain_id VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    receipt_id VARCHAR NOT NULL,
    block_height INTEGER,
    payload JSON NOT NULL,
    miner_signature JSON NOT NULL,
    coordinator_attestations JSON NOT NULL,
    minted_amount INTEGER,
    recorded_at DATETIME NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT uix_receipt_chain_id UNIQUE (chain_id, receipt_id)
);
CREATE INDEX IF NOT EXISTS ix_receipt_chain_id ON receipt (chain_id);
CREATE INDEX IF NOT EXISTS ix_receipt_job_id ON receipt (job_id);
CREATE INDEX IF NOT EXISTS ix_receipt_receipt_id ON receipt (receipt_id);
CREATE INDEX IF NOT EXISTS ix_receipt_block_height ON receipt (block_height);
CREATE INDEX IF NOT EXISTS ix_receipt_recorded_at ON receipt (recorded_at);

CREATE TABLE IF NOT EXISTS account (
    chain_id VARCHAR NOT NULL,
    address VARCHAR NOT NULL,
    balance INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    updated_at DATETIME NOT NULL,
    PRIMARY KEY (chain_id, address)
);

CREATE TABLE IF NOT EXISTS escrow (
    job_id VARCHAR NOT NULL,
    buyer VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    amount INTEGER NOT NULL,
    created_at DATETIME NOT NULL,
    released_at DATETIME,
    PRIMARY KEY (job_id)
);

-- Every credit that came by allocation or faucet, so that followers can keep the same accounts.
CREATE TABLE IF NOT EXISTS devnet_credit (
    id INTEGER NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    amount INTEGER NOT NULL
);
-- What has been mined, by its signed content: one content is mined once, however spelled.
CREATE TABLE IF NOT EXISTS devnet_digest (
    digest TEXT NOT NULL PRIMARY KEY,
    tx_hash TEXT NOT NULL,
    verified INTEGER NOT NULL
) WITHOUT ROWID;
";

/// The columns that nodes of August 2026 have besides, by their tables.
const AUGUST: [(&str, &str); 2] = [
    (
        "    block_metadata VARCHAR,\n",
        "    block_metadata VARCHAR,\n    signature VARCHAR NOT NULL,\n",
    ),
    (
        "    tx_metadata VARCHAR,\n",
        "    tx_metadata VARCHAR,\n    type VARCHAR NOT NULL,\n",
    ),
];

/// Their further indexes.
const AUGUST_INDEXES: &str = "
CREATE INDEX IF NOT EXISTS ix_transaction_sender ON \"transaction\" (sender);
CREATE INDEX IF NOT EXISTS ix_transaction_recipient ON \"transaction\" (recipient);
CREATE INDEX IF NOT EXISTS ix_transaction_type ON \"transaction\" (type);
";

/// The statements that make the tables of chain.db.
fn tables(dialect: Dialect) -> String {
    match dialect {
        Dialect::April2026 => CHAIN.to_owned(),
        Dialect::August2026 => {
            let tables = CHAIN.to_owned();
            let tables = AUGUST
                .iter()
                .fold(tables, |tables, (old, new)| tables.replace(old, new));
            tables + AUGUST_INDEXES
        }
    }
}

/// The dialect of the tables in a chain.db; `None` if there are none.
fn dialect_of(db: &Connection) -> Result<Option<Dialect>, ChainError> {
    let columns = |name: &str| {
        db.query_row(
            "SELECT count(*), total(name = ?1) FROM pragma_table_info('transaction')",
            [name],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?)),
        )
    };
    let (all, typed) = columns("type").doing("reading the tables")?;
    Ok(match (all, typed > 0.0) {
        (0, _) => None,
        (_, true) => Some(Dialect::August2026),
        (_, false) => Some(Dialect::April2026),
    })
}

const MEMPOOL: &str = "
CREATE TABLE IF NOT EXISTS mempool (
    chain_id TEXT NOT NULL,
    tx_hash TEXT NOT NULL,
    content TEXT NOT NULL,
    fee INTEGER DEFAULT 0,
    size_bytes INTEGER DEFAULT 0,
    received_at REAL NOT NULL,
    PRIMARY KEY (chain_id, tx_hash)
);
CREATE INDEX IF NOT EXISTS idx_mempool_fee ON mempool (fee DESC);
";

/// How long a statement waits for another program that holds the database.
const BUSY: Duration = Duration::from_secs(5);

/// Creates a database file that only its owner can access, if there is none; SQLite gives the files
/// beside it the same mode. If that fails, SQLite reports why when it opens the file.
fn make_private(path: &Path) {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    if let Ok(file) = made {
        // A umask may have removed permissions that its owner needs.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
}

fn open(path: &Path, ddl: &str) -> Result<Connection, ChainError> {
    make_private(path);
    let db = Connection::open(path).doing("opening the database")?;
    db.busy_timeout(BUSY)
        .doing("setting the database's busy timeout")?;
    db.pragma_update(None, "journal_mode", "WAL")
        .doing("switching the database to WAL")?;
    // A devnet may lose its last block in a power failure, but not its consistency, which WAL
    // preserves under NORMAL.
    db.pragma_update(None, "synchronous", "NORMAL")
        .doing("setting the database's durability")?;
    db.execute_batch(ddl).doing("making the tables")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Opens chain.db for writing and creates its tables.
///
/// # Errors
/// [`ChainError::Dialect`]: it holds a chain of another dialect.
pub(crate) fn open_chain(path: &Path, dialect: Dialect) -> Result<Connection, ChainError> {
    let db = open(path, "")?;
    match dialect_of(&db)? {
        Some(found) if found != dialect => return Err(ChainError::Dialect { found, dialect }),
        _ => db
            .execute_batch(&tables(dialect))
            .doing("making the tables")?,
    }
    Ok(db)
}

/// Creates the tables and indexes that chain.db lacks.
pub(crate) fn complete_chain(db: &Connection) -> Result<(), ChainError> {
    let dialect = dialect_of(db)?.unwrap_or_default();
    db.execute_batch(&tables(dialect))
        .doing("making the tables")?;
    db.pragma_update(None, "journal_mode", "WAL")
        .doing("switching the database to WAL")
}

/// Opens mempool.db and creates its table.
pub(crate) fn open_mempool(path: &Path) -> Result<Connection, ChainError> {
    open(path, MEMPOOL)
}

/// Opens chain.db for reading; its tables already exist.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, ChainError> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .doing("opening the database for reading")?;
    db.busy_timeout(BUSY)
        .doing("setting the database's busy timeout")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
