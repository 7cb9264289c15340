//! A chain.db that is written to directly: thousands of transactions in one commit.

use std::path::Path;
use std::time::Instant;

use agentry_devnet::{Devnet, DevnetConfig};
use agentry_protocol::{
    Address, BlockHeight, ChainId, Json, Number, Seed, SigningKey, StoredTransaction, Transaction,
    block_hash, isoformat,
};
use anyhow::Context;
use rusqlite::{Connection, OptionalExtension, params};

/// The most transactions that a node puts in a block.
pub(crate) const BLOCK: usize = 500;

/// The indexes that are rebuilt after a million rows are inserted.
const INDEXES: [(&str, &str); 4] = [
    ("ix_transaction_created_at", "created_at"),
    ("ix_transaction_tx_hash", "tx_hash"),
    ("ix_transaction_block_height", "block_height"),
    ("ix_transaction_chain_id", "chain_id"),
];

/// The chain of all benchmarks.
pub(crate) fn chain_id() -> ChainId {
    DevnetConfig::default().chain_id
}

/// Creates a node's databases with block 0 and these accounts.
pub(crate) fn make(dir: &Path, allocations: Vec<(Address, u64)>) -> anyhow::Result<()> {
    let config = DevnetConfig {
        dir: dir.to_owned(),
        allocations,
        automatic: false,
        ..DevnetConfig::default()
    };
    Devnet::start(config)?.stop();
    Ok(())
}

/// The hash of block 0 of the chain in a node's folder.
pub(crate) fn genesis(dir: &Path) -> anyhow::Result<String> {
    let db = Connection::open(dir.join("chain.db"))?;
    let sql = "SELECT hash FROM block WHERE height = 0";
    Ok(db.query_row(sql, [], |row| row.get(0))?)
}

/// Writes blocks on top of a chain that has no other writer meanwhile.
pub(crate) struct Blocks {
    db: Connection,
    chain: ChainId,
    height: u64,
    parent: String,
}

impl Blocks {
    /// A writer for the chain.db in a node's folder.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let chain = chain_id();
        let db = Connection::open(dir.join("chain.db"))?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        db.pragma_update(None, "synchronous", "normal")?;
        let (height, parent) = head(&db, &chain)?;
        Ok(Self {
            db,
            chain,
            height,
            parent,
        })
    }

    /// The height of the last block that this writer wrote.
    pub(crate) fn height(&self) -> u64 {
        self.height
    }

    /// The current height of the head, whoever wrote it.
    pub(crate) fn head(&self) -> anyhow::Result<u64> {
        Ok(head(&self.db, &self.chain)?.0)
    }

    /// How many `pong`s to an address are on the chain, and from how many senders.
    pub(crate) fn answers(&self, to: &Address) -> anyhow::Result<(usize, usize)> {
        let sql = "SELECT count(*), count(DISTINCT sender) FROM \"transaction\"
                   WHERE recipient = ?1 AND payload LIKE '%\"pong\"%'";
        let (answers, senders): (i64, i64) = self
            .db
            .query_row(sql, [to.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((usize::try_from(answers)?, usize::try_from(senders)?))
    }

    /// Adds these transactions in full blocks, all in one commit, and returns the time of the commit.
    pub(crate) fn add(
        &mut self,
        transactions: impl IntoIterator<Item = StoredTransaction>,
    ) -> anyhow::Result<Instant> {
        (self.height, self.parent) = head(&self.db, &self.chain)?;
        let transaction = self.db.transaction()?;
        let mut transactions = transactions.into_iter().peekable();
        while transactions.peek().is_some() {
            let block: Vec<_> = transactions.by_ref().take(BLOCK).collect();
            self.height += 1;
            self.parent = insert(&transaction, &self.chain, self.height, &self.parent, &block)?;
        }
        transaction.commit()?;
        Ok(Instant::now())
    }

    /// Adds one empty block.
    pub(crate) fn add_empty(&mut self) -> anyhow::Result<()> {
        (self.height, self.parent) = head(&self.db, &self.chain)?;
        self.height += 1;
        let transaction = self.db.transaction()?;
        self.parent = insert(&transaction, &self.chain, self.height, &self.parent, &[])?;
        transaction.commit()?;
        Ok(())
    }

    /// Adds very many transactions: without durability, and with the indexes built afterwards.
    pub(crate) fn add_in_bulk(
        &mut self,
        transactions: impl IntoIterator<Item = StoredTransaction>,
    ) -> anyhow::Result<()> {
        self.db.pragma_update(None, "journal_mode", "off")?;
        self.db.pragma_update(None, "synchronous", "off")?;
        self.db.pragma_update(None, "cache_size", -400_000)?;
        for (name, _) in INDEXES {
            self.db.execute_batch(&format!("DROP INDEX {name}"))?;
        }
        self.add(transactions)?;
        for (name, column) in INDEXES {
            let sql = format!("CREATE INDEX {name} ON \"transaction\" ({column})");
            self.db.execute_batch(&sql)?;
        }
        self.db.pragma_update(None, "journal_mode", "wal")?;
        self.db.pragma_update(None, "synchronous", "normal")?;
        Ok(())
    }
}

fn head(db: &Connection, chain: &ChainId) -> anyhow::Result<(u64, String)> {
    let sql = "SELECT height, hash FROM block WHERE chain_id = ?1 ORDER BY height DESC LIMIT 1";
    let (height, hash): (i64, String) = db
        .query_row(sql, [chain.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .context("a chain without blocks")?;
    Ok((u64::try_from(height)?, hash))
}

/// Writes one block as the node does, and returns its hash.
fn insert(
    db: &Connection,
    chain: &ChainId,
    height: u64,
    parent: &str,
    transactions: &[StoredTransaction],
) -> anyhow::Result<String> {
    let now: String = db
        .prepare_cached("SELECT strftime('%Y-%m-%d %H:%M:%f000', 'now')")?
        .query_row([], |row| row.get(0))?;
    let row_height = i64::try_from(height)?;
    let rows: Vec<_> = transactions
        .iter()
        .map(|transaction| (transaction.hash().to_string(), transaction))
        .collect();
    let hashes = rows.iter().map(|(hash, _)| hash.as_str());
    let hash = block_hash(chain, BlockHeight(height), parent, &isoformat(&now), hashes).to_string();
    db.prepare_cached(
        "INSERT INTO block (chain_id, height, hash, parent_hash, proposer, timestamp, tx_count)
         VALUES (?1, ?2, ?3, ?4, 'bench', ?5, ?6)",
    )?
    .execute(params![
        chain.as_str(),
        row_height,
        hash,
        parent,
        now,
        i64::try_from(rows.len())?
    ])?;
    let mut row = db.prepare_cached(
        "INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, payload,
                                      created_at, nonce, value, fee, status, timestamp)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, 10, 'confirmed', ?7)",
    )?;
    for (hash, transaction) in &rows {
        row.execute(params![
            chain.as_str(),
            hash,
            row_height,
            transaction.from.as_str(),
            transaction.to.as_str(),
            transaction.stored_text(),
            now,
        ])?;
    }
    Ok(hash)
}

/// Transactions between unrelated addresses: in the usual form, each with its own hash, and with
/// signatures that are never verified.
pub(crate) fn foreign(count: usize) -> impl Iterator<Item = StoredTransaction> {
    let strangers: Vec<SigningKey> = (0..64_u8)
        .map(|byte| SigningKey::from_seed(&Seed::from_bytes([byte ^ 0x5a; 32])))
        .collect();
    let addresses: Vec<Address> = strangers
        .iter()
        .map(|key| Address::from_public_key(&key.public_key()))
        .collect();
    (0..count).map(move |number| {
        let sender = number % strangers.len();
        let transaction = Transaction {
            from: addresses[sender].clone(),
            to: addresses[(number / 7) % addresses.len()].clone(),
            amount: Number::from(1_u64),
            fee: Number::from(10_u64),
            nonce: Number::from(number as u64),
            payload: Json::string("what strangers say to one another"),
            chain_id: chain_id(),
        };
        let digest = transaction.digest().to_string();
        let digits = digest.trim_start_matches("0x");
        StoredTransaction {
            chain_id: transaction.chain_id.to_string(),
            from: transaction.from,
            to: transaction.to,
            amount: transaction.amount,
            fee: transaction.fee,
            nonce: transaction.nonce,
            payload: transaction.payload,
            signature: Some(format!("{digits}{digits}")),
        }
    })
}
