//! The stages on which the laws are tested: the same model shown by six kinds of node.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainSource, NodeClient, NodeOptions, RpcOptions, RpcSource, SharedDb,
};
use agentry_protocol::Dialect;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::http::{HttpNode, Reply};
use crate::model::{Block, CHAIN, ME, Model, Tx, chain_id};

/// The kind of node that shows a model to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A chain.db with its table of transactions.
    Leader,
    /// A chain.db whose transactions are in the metadata of its blocks.
    Follower,
    /// A correct node over RPC.
    Rpc,
    /// A node that sends no transactions with blocks-range.
    OldRpc,
    /// A chain.db of August 2026.
    August,
    /// A node of August 2026 over RPC, without limits.
    AugustRpc,
}

impl Kind {
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Leader | Self::Follower | Self::Rpc | Self::OldRpc => Dialect::April2026,
            Self::August | Self::AugustRpc => Dialect::August2026,
        }
    }
}

/// The failures of a node.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Heights for which any answer with their transactions is a 503.
    pub(crate) poison: Vec<u64>,
    /// The same for their headers.
    pub(crate) poison_headers: bool,
    /// Every call but the head is a 503.
    pub(crate) all: bool,
    /// How many blocks a range shows at most; 0 for all.
    pub(crate) cap: usize,
    /// A block that ranges omit.
    pub(crate) left_out: Option<u64>,
    /// By how many blocks every second answer is behind.
    pub(crate) lags: Option<u64>,
    pub(crate) answers: u64,
    /// How long the node's one thread works on each block of an answer.
    pub(crate) a_block_takes: Duration,
    /// How many blocks it has worked on.
    pub(crate) worked: u64,
    /// How many requests for blocks are not answered at all from now on.
    pub(crate) silent: u64,
    /// How many requests for blocks are answered 429 from now on.
    pub(crate) refused: u64,
    /// No request is answered at all.
    pub(crate) hangs: bool,
}

pub(crate) struct Stage {
    kind: Kind,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) failures: Arc<Mutex<Failures>>,
    directory: TempDir,
    /// The node's own connection.
    writer: Option<Connection>,
    node: Option<HttpNode>,
    /// The database that sources share.
    shared: OnceLock<SharedDb>,
}

pub(crate) const SCHEMA: &str = r#"
CREATE TABLE block (
    id INTEGER NOT NULL PRIMARY KEY, chain_id VARCHAR NOT NULL, height INTEGER NOT NULL,
    hash VARCHAR NOT NULL UNIQUE, parent_hash VARCHAR NOT NULL, proposer VARCHAR NOT NULL,
    timestamp DATETIME NOT NULL, tx_count INTEGER NOT NULL, state_root VARCHAR,
    block_metadata VARCHAR, CONSTRAINT uix_block_chain_height UNIQUE (chain_id, height));
CREATE INDEX ix_block_height ON block (height);
CREATE INDEX ix_block_chain_id ON block (chain_id);
CREATE TABLE "transaction" (
    id INTEGER NOT NULL PRIMARY KEY, chain_id VARCHAR NOT NULL, tx_hash VARCHAR NOT NULL,
    block_height INTEGER, sender VARCHAR NOT NULL, recipient VARCHAR NOT NULL, payload JSON NOT NULL,
    created_at DATETIME NOT NULL, nonce INTEGER NOT NULL, value INTEGER NOT NULL,
    fee INTEGER NOT NULL, status VARCHAR NOT NULL, timestamp VARCHAR, tx_metadata VARCHAR);
CREATE INDEX ix_transaction_created_at ON "transaction" (created_at);
CREATE INDEX ix_transaction_tx_hash ON "transaction" (tx_hash);
CREATE INDEX ix_transaction_block_height ON "transaction" (block_height);
CREATE INDEX ix_transaction_chain_id ON "transaction" (chain_id);
"#;

/// What the schema of August 2026 has more.
pub(crate) const AUGUST: &str = r#"
ALTER TABLE block ADD COLUMN signature VARCHAR NOT NULL DEFAULT '';
ALTER TABLE "transaction" ADD COLUMN type VARCHAR NOT NULL DEFAULT 'TRANSFER';
CREATE INDEX ix_transaction_sender ON "transaction" (sender);
CREATE INDEX ix_transaction_recipient ON "transaction" (recipient);
CREATE INDEX ix_transaction_type ON "transaction" (type);
CREATE INDEX ix_transaction_chain_height ON "transaction" (chain_id, block_height);
"#;

/// Opens a database file as a node does, with its tables.
pub(crate) fn node_file(path: &std::path::Path) -> Connection {
    node_file_of(Dialect::April2026, path)
}

pub(crate) fn node_file_of(dialect: Dialect, path: &std::path::Path) -> Connection {
    let writer = Connection::open(path).unwrap();
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    writer.pragma_update(None, "synchronous", "OFF").unwrap();
    let tables: i64 = writer
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    if tables == 0 {
        writer.execute_batch(SCHEMA).unwrap();
        if dialect == Dialect::August2026 {
            writer.execute_batch(AUGUST).unwrap();
        }
    }
    writer
}

pub(crate) fn insert_transaction(writer: &Connection, chain: &str, height: u64, tx: &Tx) {
    let (hash, sender, recipient) = tx.columns();
    if tx.dialect == Dialect::August2026 {
        let sql = "INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, \
                   payload, created_at, nonce, value, fee, status, type, timestamp) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, '2026-08-22 00:00:00.673687', ?7, 0, 36, \
                   'confirmed', 'MESSAGE', NULL)";
        let mut statement = writer.prepare_cached(sql).unwrap();
        let (height, number) = (height as i64, tx.number as i64);
        let row = params![chain, hash, height, sender, recipient, tx.stored, number];
        statement.execute(row).unwrap();
        return;
    }
    let sql = "INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, \
               payload, created_at, nonce, value, fee, status) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, '2026-04-01 00:00:00.000000', 0, 1, 10, 'confirmed')";
    let mut statement = writer.prepare_cached(sql).unwrap();
    statement
        .execute(params![
            chain,
            hash,
            height as i64,
            sender,
            recipient,
            tx.stored
        ])
        .unwrap();
}

impl Stage {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::with(kind, Model::of(kind.dialect(), 0)).await
    }

    pub(crate) async fn with(kind: Kind, model: Model) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let model = Arc::new(Mutex::new(model));
        let failures = Arc::new(Mutex::new(Failures::default()));
        let mut stage = Self {
            kind,
            model,
            failures,
            directory,
            writer: None,
            node: None,
            shared: OnceLock::new(),
        };
        if stage.is_file() {
            stage.rebuild();
        } else {
            let (model, failures) = (Arc::clone(&stage.model), Arc::clone(&stage.failures));
            let script = move |_: &str, path: &str, _: &str| {
                let (model, mut failures) = (model.lock().unwrap(), failures.lock().unwrap());
                failures.answers += 1;
                let blocks = blocks_of(path);
                failures.worked += blocks;
                if failures.hangs {
                    return Reply::Silence;
                }
                if blocks > 0 && failures.refused > 0 {
                    failures.refused -= 1;
                    let detail = r#"{"detail":"Rate limit exceeded"}"#.to_owned();
                    return Reply::With(429, "retry-after: 1", detail);
                }
                if blocks > 0 && failures.silent > 0 {
                    failures.silent -= 1;
                    return Reply::Silence;
                }
                if !failures.a_block_takes.is_zero() {
                    let takes = failures.a_block_takes * u32::try_from(blocks).unwrap();
                    let reply = answer(&model, &failures, kind, path);
                    return Reply::Worked(takes, Box::new(reply));
                }
                if let Some(lag) = failures.lags.filter(|_| failures.answers.is_multiple_of(2)) {
                    let mut other = model.clone();
                    other.rewind(lag);
                    return answer(&other, &failures, kind, path);
                }
                answer(&model, &failures, kind, path)
            };
            stage.node = Some(HttpNode::start(script).await);
        }
        stage
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::Leader | Kind::Follower | Kind::August)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("chain.db")
    }

    pub(crate) fn writer(&self) -> &Connection {
        self.writer.as_ref().unwrap()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.node.as_ref().unwrap().requests()
    }

    pub(crate) fn most_at_once(&self) -> u64 {
        self.node.as_ref().unwrap().most_at_once()
    }

    /// How many blocks the node has worked on.
    pub(crate) fn worked(&self) -> u64 {
        self.failures.lock().unwrap().worked
    }

    pub(crate) fn db(&self) -> ChainDb {
        let options = ChainDbOptions::of(self.kind.dialect());
        ChainDb::open(self.path(), chain_id(), options).unwrap()
    }

    pub(crate) fn rpc(&self) -> RpcSource {
        let url = &self.node.as_ref().unwrap().url;
        // Gaps are tried again, and late rows are searched for, at every read.
        let options = RpcOptions {
            gap_wait: Duration::ZERO,
            longest_gap_wait: Duration::ZERO,
            sweep_every: Duration::ZERO,
            page: 16,
            ..RpcOptions::default()
        };
        let share = NodeOptions {
            share: 1,
            ..self.options()
        };
        let node = NodeClient::new(url, share).unwrap();
        RpcSource::new(node, chain_id(), options)
    }

    /// The source with default options.
    pub(crate) fn usual_rpc(&self) -> RpcSource {
        let options = RpcOptions {
            poll: Duration::from_millis(50),
            ..RpcOptions::default()
        };
        RpcSource::new(self.client(), chain_id(), options)
    }

    /// The node that is asked over RPC.
    pub(crate) fn client(&self) -> NodeClient {
        let url = &self.node.as_ref().unwrap().url;
        NodeClient::new(url, self.options()).unwrap()
    }

    fn options(&self) -> NodeOptions {
        NodeOptions {
            unlimited: true,
            ..NodeOptions::of(self.kind.dialect(), &chain_id())
        }
    }

    fn shared(&self) -> &SharedDb {
        self.shared.get_or_init(|| {
            let options = ChainDbOptions::of(self.kind.dialect());
            SharedDb::open(self.path(), chain_id(), options).unwrap()
        })
    }

    /// A source. Those of a database share its connection, its thread and its watch.
    pub(crate) fn source(&self) -> Box<dyn ChainSource> {
        if self.is_file() {
            Box::new(self.shared().source())
        } else {
            Box::new(self.rpc())
        }
    }

    pub(crate) fn head(&self) -> u64 {
        self.model.lock().unwrap().head()
    }

    /// One new block.
    pub(crate) fn append(&mut self, sorts: &[crate::model::Sort]) {
        let mut model = self.model.lock().unwrap();
        model.append(sorts);
        if let Some(writer) = &mut self.writer {
            let commit = writer.transaction().unwrap();
            write_block(&commit, self.kind, model.blocks.last().unwrap());
            commit.commit().unwrap();
        }
    }

    /// Removes blocks; their row ids are free then.
    pub(crate) fn rewind(&mut self, depth: u64) {
        let mut model = self.model.lock().unwrap();
        model.rewind(depth);
        let head = model.head() as i64;
        if let Some(writer) = &mut self.writer {
            let commit = writer.transaction().unwrap();
            commit
                .execute("DELETE FROM block WHERE height > ?1", [head])
                .unwrap();
            commit
                .execute(
                    "DELETE FROM \"transaction\" WHERE block_height > ?1",
                    [head],
                )
                .unwrap();
            commit.commit().unwrap();
        }
    }

    /// Restores blocks that were removed before.
    pub(crate) fn put_back(&mut self, blocks: &[Block]) {
        let mut model = self.model.lock().unwrap();
        model.blocks.extend_from_slice(blocks);
        if let Some(writer) = &mut self.writer {
            let commit = writer.transaction().unwrap();
            for block in blocks {
                write_block(&commit, self.kind, block);
            }
            commit.commit().unwrap();
        }
    }

    /// Replaces blocks by others, in one commit.
    pub(crate) fn reorganise(&mut self, depth: u64, blocks: &[Vec<crate::model::Sort>]) {
        let mut model = self.model.lock().unwrap();
        model.rewind(depth);
        let head = model.head();
        for sorts in blocks {
            model.append(sorts);
        }
        if let Some(writer) = &mut self.writer {
            let commit = writer.transaction().unwrap();
            let above = [head as i64];
            commit
                .execute("DELETE FROM block WHERE height > ?1", above)
                .unwrap();
            commit
                .execute("DELETE FROM \"transaction\" WHERE block_height > ?1", above)
                .unwrap();
            for block in &model.blocks[head as usize + 1..] {
                write_block(&commit, self.kind, block);
            }
            commit.commit().unwrap();
        }
    }

    /// Adds a transaction at an old height. `recount`: the block's count is updated. `restored`: a
    /// follower stores the block again, with another row id.
    pub(crate) fn late(
        &mut self,
        height: u64,
        sort: crate::model::Sort,
        recount: bool,
        restored: bool,
    ) {
        let mut model = self.model.lock().unwrap();
        let tx = model.tx(sort);
        let block = model.block(height);
        block.txs.push(tx.clone());
        if recount || self.kind == Kind::OldRpc {
            block.tx_count = block.txs.len() as u64;
        }
        let Some(writer) = &mut self.writer else {
            return;
        };
        let commit = writer.transaction().unwrap();
        let at = height as i64;
        if self.kind != Kind::Follower {
            insert_transaction(&commit, CHAIN, height, &tx);
            let sql = "UPDATE block SET tx_count = ?2 WHERE height = ?1";
            commit
                .execute(sql, params![at, block.tx_count as i64])
                .unwrap();
        } else if restored {
            commit
                .execute("DELETE FROM block WHERE height = ?1", [at])
                .unwrap();
            write_block(&commit, self.kind, block);
        } else {
            let sql = "UPDATE block SET tx_count = ?2, block_metadata = ?3 WHERE height = ?1";
            let metadata = metadata_of(block);
            commit
                .execute(sql, params![at, block.tx_count as i64, metadata])
                .unwrap();
        }
        commit.commit().unwrap();
    }

    /// The chain restarts from block 0, as when a node's data is deleted.
    pub(crate) fn reset(&mut self, blocks: &[Vec<crate::model::Sort>]) {
        let mut model = self.model.lock().unwrap();
        model.blocks.truncate(1);
        for sorts in blocks {
            model.append(sorts);
        }
        drop(model);
        if self.is_file() {
            self.rebuild();
        }
    }

    /// Creates the file again from the model, in the place of the existing one.
    pub(crate) fn rebuild(&mut self) {
        self.writer = None;
        for suffix in ["", "-wal", "-shm"] {
            let path = self.directory.path().join(format!("chain.db{suffix}"));
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
        let mut writer = node_file_of(self.kind.dialect(), &self.path());
        let commit = writer.transaction().unwrap();
        for block in &self.model.lock().unwrap().blocks {
            write_block(&commit, self.kind, block);
        }
        commit.commit().unwrap();
        self.writer = Some(writer);
    }

    /// Stops the node: its connection closes, and SQLite removes the files beside the database.
    pub(crate) fn stop(&mut self) {
        self.writer = None;
    }

    pub(crate) fn start(&mut self) {
        self.writer = Some(node_file_of(self.kind.dialect(), &self.path()));
    }
}

fn metadata_of(block: &Block) -> String {
    let rows: Vec<String> = block.shown().map(|tx| tx.row(block.height)).collect();
    format!(r#"{{"transactions": [{}]}}"#, rows.join(", "))
}

fn write_block(writer: &Connection, kind: Kind, block: &Block) {
    let follower = kind == Kind::Follower;
    let metadata = follower.then(|| metadata_of(block));
    let parent = if follower { "" } else { &block.parent };
    let sql = "INSERT INTO block (chain_id, height, hash, parent_hash, proposer, timestamp, \
               tx_count, block_metadata) VALUES (?1, ?2, ?3, ?4, '', ?5, ?6, ?7)";
    let (height, count) = (block.height as i64, block.tx_count as i64);
    let mut statement = writer.prepare_cached(sql).unwrap();
    let values = params![
        CHAIN,
        height,
        block.hash,
        parent,
        block.timestamp,
        count,
        metadata
    ];
    statement.execute(values).unwrap();
    if follower {
        return;
    }
    for tx in block.shown() {
        insert_transaction(writer, CHAIN, block.height, tx);
    }
    // Another chain in the same file, with transactions to the same addresses.
    let hash = format!("other {}", block.hash);
    let values = params![
        "other",
        height,
        hash,
        parent,
        block.timestamp,
        count,
        metadata
    ];
    statement.execute(values).unwrap();
    insert_transaction(
        writer,
        "other",
        block.height,
        &Tx::of(kind.dialect(), crate::model::Sort::Mine, 1 << 40),
    );
    if kind == Kind::August {
        // A faucet writes beside the chain.
        let sql = "INSERT INTO \"transaction\" (chain_id, tx_hash, block_height, sender, recipient, \
                   payload, created_at, nonce, value, fee, status, type) VALUES (?1, ?2, NULL, \
                   'faucet', ?3, '{\"type\": \"FAUCET\", \"amount\": 7200}', '2026-08-22', 0, 7200, 0, \
                   'confirmed', 'FAUCET')";
        let hash = block.hash.trim_start_matches("0x");
        writer.execute(sql, params![CHAIN, hash, ME]).unwrap();
    }
}

/// How many blocks an answer shows.
fn blocks_of(path: &str) -> u64 {
    let value = |name: &str| -> Option<u64> {
        let (_, after) = path.split_once(name)?;
        after.split('&').next()?.parse().ok()
    };
    match (value("start="), value("end=")) {
        (Some(start), Some(end)) => end - start + 1,
        _ => u64::from(path.starts_with("/rpc/blocks/")),
    }
}

/// The node's answers.
fn answer(model: &Model, failures: &Failures, kind: Kind, path: &str) -> Reply {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (old, august) = (kind == Kind::OldRpc, kind == Kind::AugustRpc);
    let names_chain = query.split('&').any(|part| part == "chain_id=ait-test");
    assert_eq!(names_chain, august, "{path}?{query}");
    let not_there = |detail: &str| Reply::Json(404, format!(r#"{{"detail":"{detail}"}}"#));
    let ill = || Reply::Json(503, "Service Unavailable".to_owned());
    let head = model.blocks.last().unwrap();
    if path == "/rpc/head" {
        let Block {
            height,
            hash,
            timestamp,
            tx_count,
            ..
        } = head;
        return Reply::Json(
            200,
            format!(
                r#"{{"height":{height},"hash":"{hash}","timestamp":"{timestamp}","tx_count":{tx_count}}}"#
            ),
        );
    }
    if failures.all {
        return ill();
    }
    if let Some(height) = path.strip_prefix("/rpc/blocks/") {
        let height: usize = height.parse().unwrap();
        let Some(block) = model.blocks.get(height) else {
            return not_there("block not found");
        };
        if failures.poison.contains(&block.height) {
            return ill();
        }
        assert!(!august, "no row of this call shows its sender");
        let rows: Vec<String> = block.shown().map(Tx::flat_row).collect();
        let Block {
            height,
            hash,
            parent,
            timestamp,
            tx_count,
            ..
        } = block;
        return Reply::Json(
            200,
            format!(
                r#"{{"height":{height},"hash":"{hash}","parent_hash":"{parent}","proposer":"p","timestamp":"{timestamp}","tx_count":{tx_count},"state_root":null,"transactions":[{}]}}"#,
                rows.join(",")
            ),
        );
    }
    if path == "/rpc/blocks-range" {
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (start, end): (u64, u64) = (
            value("start").unwrap().parse().unwrap(),
            value("end").unwrap().parse().unwrap(),
        );
        let with = value("include_tx") != Some("false");
        let range = || {
            model
                .blocks
                .iter()
                .filter(|b| (start..=end).contains(&b.height))
        };
        let poisoned = range().any(|block| failures.poison.contains(&block.height));
        if poisoned && (with || failures.poison_headers) {
            return ill();
        }
        let show = |block: &Block| {
            let rows: Vec<String> = block.shown().map(|tx| tx.row(block.height)).collect();
            let rows = match (old, with) {
                (true, _) => String::new(),
                (false, true) => format!(r#","transactions":[{}]"#, rows.join(",")),
                (false, false) => r#","transactions":[]"#.to_owned(),
            };
            let Block {
                height,
                hash,
                parent,
                timestamp,
                tx_count,
                ..
            } = block;
            if august {
                return format!(
                    r#"{{"height":{height},"hash":"{hash}","parent_hash":"{parent}","proposer":"p","timestamp":"{timestamp}","tx_count":{tx_count},"state_root":null,"block_metadata":null,"signature":"0xab"{rows}}}"#
                );
            }
            format!(
                r#"{{"height":{height},"hash":"{hash}","timestamp":"{timestamp}","tx_count":{tx_count}{rows}}}"#
            )
        };
        let cap = if failures.cap == 0 {
            usize::MAX
        } else {
            failures.cap
        };
        let left_out = |block: &&Block| failures.left_out != Some(block.height) || start == end;
        let blocks: Vec<String> = range().filter(left_out).take(cap).map(show).collect();
        return Reply::Json(
            200,
            format!(
                r#"{{"success":true,"blocks":[{}],"count":{}}}"#,
                blocks.join(","),
                blocks.len()
            ),
        );
    }
    not_there("Not Found")
}
