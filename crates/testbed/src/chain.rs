//! A node whose blocks the test makes, so that the test knows every destroyed block, and can read
//! mempool and chain while neither changes.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentry_devnet::{Devnet, DevnetConfig, DevnetError, Fault};
use agentry_protocol::{Limits, StoredTransaction};
use rusqlite::{Connection, OpenFlags};

/// A chain and the node that makes it.
#[derive(Debug)]
pub struct Chain {
    shared: Arc<Shared>,
    miner: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    config: DevnetConfig,
    node: RwLock<Option<Devnet>>,
    /// Held while the chain or the mempool is changed by the miner.
    beat: Mutex<()>,
    ended: AtomicBool,
    /// Whether block production is paused.
    paused: AtomicBool,
    destroyed: Mutex<Vec<String>>,
    errors: Mutex<Vec<String>>,
}

/// A transaction on the chain.
#[derive(Clone, Debug)]
pub struct Mined {
    /// Its hash.
    pub hash: String,
    /// The height of its block.
    pub height: u64,
    /// Its sender.
    pub sender: String,
    /// Its recipient.
    pub recipient: String,
    /// The signed transaction; none if it cannot be parsed.
    pub stored: Option<StoredTransaction>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chain {
    /// A new chain. Its node keeps its port when it is stopped and started.
    pub fn start(config: DevnetConfig) -> Self {
        let config = DevnetConfig {
            automatic: false,
            ..config
        };
        let node = Devnet::start(config.clone()).unwrap();
        let config = DevnetConfig {
            port: node.port(),
            ..config
        };
        let shared = Arc::new(Shared {
            config,
            node: RwLock::new(Some(node)),
            beat: Mutex::default(),
            ended: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            destroyed: Mutex::default(),
            errors: Mutex::default(),
        });
        let miner = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.mine()
        });
        Self {
            shared,
            miner: Some(miner),
        }
    }

    /// The port of the node, which it keeps.
    pub fn port(&self) -> u16 {
        self.shared.config.port
    }

    /// The URL of the node.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// How often a block is made.
    pub fn block_time(&self) -> Duration {
        self.shared.config.block_time
    }

    /// The path of chain.db.
    pub fn db(&self) -> PathBuf {
        self.shared.config.dir.join("chain.db")
    }

    /// Runs `work` on the node while no block is made.
    pub fn with<T>(&self, work: impl FnOnce(&Devnet) -> T) -> T {
        let _beat = lock(&self.shared.beat);
        let node = self
            .shared
            .node
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        work(node.as_ref().expect("the node is stopped"))
    }

    /// Sets faults, written as for `--fault`.
    pub fn set(&self, faults: &[&str]) {
        self.with(|node| {
            for fault in faults {
                node.faults().set(fault.parse::<Fault>().unwrap());
            }
        });
    }

    /// Clears faults by their names.
    pub fn clear(&self, faults: &[&str]) {
        self.with(|node| {
            for fault in faults {
                node.faults().clear(fault);
            }
        });
    }

    /// Pauses block production until [`Self::resume`].
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.beat));
    }

    /// Makes blocks again.
    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// Stops the node: connections are cut, its port is free.
    pub fn stop_node(&self) {
        let _beat = lock(&self.shared.beat);
        let node = self
            .shared
            .node
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        node.expect("the node is stopped").stop();
    }

    /// Starts the node again on the same port.
    pub fn start_node(&self) {
        let _beat = lock(&self.shared.beat);
        // Allocations are credited once, when a chain is created.
        let started = crate::within(crate::PATIENCE, || {
            match Devnet::start(self.shared.config.clone()) {
                Ok(node) => Some(node),
                Err(DevnetError::PortInUse { .. }) => None,
                Err(error) => panic!("starting the node again: {error}"),
            }
        });
        let mut node = self
            .shared
            .node
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *node = Some(started.expect("the node's port is still in use"));
    }

    /// The transactions that destroyed a block.
    pub fn destroyed(&self) -> Vec<String> {
        lock(&self.shared.destroyed).clone()
    }

    /// Errors while making blocks.
    pub fn errors(&self) -> Vec<String> {
        lock(&self.shared.errors).clone()
    }

    /// The height of the head.
    pub fn head(&self) -> u64 {
        open(&self.db())
            .query_row("SELECT max(height) FROM block", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
            .cast_unsigned()
    }

    /// Every transaction on the chain, in its order.
    pub fn transactions(&self) -> Vec<Mined> {
        transactions(&open(&self.db()))
    }

    /// Every transaction above a height, in the chain's order.
    pub fn above(&self, height: u64) -> Vec<Mined> {
        transactions_above(&open(&self.db()), Some(height))
    }

    /// The path of the mempool's database.
    pub fn mempool(&self) -> PathBuf {
        self.shared.config.dir.join("mempool.db")
    }

    /// The hashes of all pending transactions.
    fn pending(&self) -> HashSet<String> {
        let db = open(&self.mempool());
        let mut statement = db.prepare("SELECT tx_hash FROM mempool").unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// Which of these are certainly neither pending nor mined. While the rows of a block are still
    /// to be written, nothing is certain.
    pub fn absent(&self, hashes: impl IntoIterator<Item = String>) -> HashSet<String> {
        let _beat = lock(&self.shared.beat);
        let db = open(&self.db());
        let incomplete: i64 = db
            .query_row(
                "SELECT count(*) FROM block WHERE tx_count !=
                 (SELECT count(*) FROM \"transaction\" WHERE block_height = block.height)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        if incomplete > 0 {
            return HashSet::new();
        }
        let mut absent: HashSet<String> = hashes.into_iter().collect();
        for hash in self.pending() {
            absent.remove(&hash);
        }
        for mined in transactions(&db) {
            absent.remove(&mined.hash);
        }
        absent
    }

    /// Waits until the head is `blocks` above `height`.
    pub fn await_blocks(&self, height: u64, blocks: u64) {
        crate::until("blocks are made", || self.head() >= height + blocks);
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(miner) = self.miner.take()
            && miner.join().is_err()
        {
            eprintln!("the miner panicked");
        }
    }
}

impl Shared {
    /// Makes a block at every tick while there is a node.
    fn mine(&self) {
        let mut next = Instant::now() + self.config.block_time;
        while !self.ended.load(Ordering::SeqCst) {
            let now = Instant::now();
            if now < next {
                std::thread::sleep((next - now).min(Duration::from_millis(20)));
                continue;
            }
            next = now + self.config.block_time;
            let _beat = lock(&self.beat);
            if self.paused.load(Ordering::SeqCst) {
                continue;
            }
            let node = self.node.read().unwrap_or_else(PoisonError::into_inner);
            match node.as_ref().map(Devnet::mine) {
                None | Some(Ok(_)) => {}
                Some(Err(DevnetError::Chain(agentry_devnet::ChainError::BlockDestroyed {
                    hash,
                    ..
                }))) => lock(&self.destroyed).push(hash),
                Some(Err(error)) => lock(&self.errors).push(error.to_string()),
            }
        }
    }
}

/// Opens a database for a single query.
pub fn open(path: &std::path::Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).unwrap();
    db.busy_timeout(crate::PATIENCE).unwrap();
    db
}

/// Every transaction in a database of the chain, in its order.
pub fn transactions(db: &Connection) -> Vec<Mined> {
    transactions_above(db, None)
}

fn transactions_above(db: &Connection, height: Option<u64>) -> Vec<Mined> {
    // A row of April 2026 has the whole transaction as its payload; later ones have a column for each of
    // its parts.
    let mut kinds = db
        .prepare("SELECT 1 FROM pragma_table_info('transaction') WHERE name = 'type'")
        .unwrap();
    let stored = match kinds.exists([]).unwrap() {
        false => "payload",
        true => {
            "json_object('chain_id', chain_id, 'from', sender, 'to', recipient, 'amount', value, \
             'fee', fee, 'nonce', nonce, 'type', type, 'value', value, 'payload', json(payload))"
        }
    };
    let mut statement = db
        .prepare(&format!(
            "SELECT tx_hash, block_height, sender, recipient, {stored} FROM \"transaction\"
             WHERE ?1 IS NULL OR block_height > ?1 ORDER BY block_height, id"
        ))
        .unwrap();
    let rows = statement
        .query_map([height.map(u64::cast_signed)], |row| {
            let text: String = row.get(4)?;
            Ok(Mined {
                hash: row.get(0)?,
                height: row.get::<_, i64>(1)?.cast_unsigned(),
                sender: row.get(2)?,
                recipient: row.get(3)?,
                stored: StoredTransaction::parse(text.as_bytes(), Limits::default()).ok(),
            })
        })
        .unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}
