//! The actual chain, with which every source under test is compared.

use std::collections::{BTreeMap, BTreeSet};

use agentry_protocol::{
    BlockHeight, ChainId, Dialect, Limits, StoredTransaction, TransactionHash, block_hash,
};

pub(crate) const CHAIN: &str = "ait-test";
pub(crate) const ME: &str = "ait12b8facdb297c8439b404e59d2290f9906b1fdf9c";

/// The spellings of [`ME`] where there are several.
const SPELLINGS: [&str; 4] = [
    ME,
    "0x2b8faCdB297C8439B404e59D2290F9906b1FdF9c",
    "aitbc12b8facdb297c8439b404e59d2290f9906b1fdf9c",
    "AIT12B8FACDB297C8439B404E59D2290F9906B1FDF9C",
];
pub(crate) const GENESIS_TIME: &str = "2025-01-01T00:00:00";

pub(crate) fn chain_id() -> ChainId {
    CHAIN.parse().unwrap()
}

/// The kind of a test's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// To [`ME`].
    Mine,
    /// Between others.
    Foreign,
    /// To [`ME`], and its row has empty `tx_hash`, `sender` and `recipient`; where these are the
    /// transaction itself, an empty `tx_hash` alone.
    Bare,
    /// Between others, with an empty row.
    BareForeign,
    /// To [`ME`], and cannot be decoded.
    Bad,
    /// To [`ME`], and nearly as long as a block may be.
    Large,
}

#[derive(Debug, Clone)]
pub(crate) struct Tx {
    pub(crate) sort: Sort,
    pub(crate) hash: TransactionHash,
    /// What the column `payload` holds.
    pub(crate) stored: String,
    pub(crate) dialect: Dialect,
    pub(crate) number: u64,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// A node does not show it, although the block counts it.
    pub(crate) hidden: bool,
}

impl Tx {
    /// One of a chain of April 2026.
    pub(crate) fn new(sort: Sort, number: u64) -> Self {
        Self::of(Dialect::April2026, sort, number)
    }

    pub(crate) fn of(dialect: Dialect, sort: Sort, number: u64) -> Self {
        match dialect {
            Dialect::April2026 => Self::of_april(sort, number),
            Dialect::August2026 => Self::of_august(sort, number),
        }
    }

    fn of_august(sort: Sort, number: u64) -> Self {
        let to = match sort {
            Sort::Mine | Sort::Bare | Sort::Bad | Sort::Large => {
                SPELLINGS[number as usize % SPELLINGS.len()]
            }
            Sort::Foreign | Sort::BareForeign => "0x40982fF2E535786357760792c363056f68326104",
        };
        let from = "ait1from";
        let ballast = "x".repeat(if sort == Sort::Large { 900_000 } else { 0 });
        // A payload that looks like its transaction changes nothing.
        let payload = format!(
            r#"{{"amount":0,"message":"ping {number}{ballast}","from":"victim","to":"{ME}"}}"#
        );
        let text = format!(
            r#"{{"amount":0,"chain_id":"{CHAIN}","fee":36,"from":"{from}","nonce":{number},"payload":{payload},"to":"{to}","type":"MESSAGE"}}"#
        );
        let (dialect, limits) = (Dialect::August2026, Limits::default());
        let stored = StoredTransaction::read(dialect, text.as_bytes(), limits).unwrap();
        let hash = match sort {
            Sort::Bare | Sort::BareForeign => {
                TransactionHash::from_bytes(*stored.digest().as_bytes())
            }
            // The node knows the signature, and no row shows it.
            _ => dialect.hash(stored.fields(), Some("ab")),
        };
        let stored = match sort {
            Sort::Bad => payload.replace("\"amount\":0", "\"amount\":NaN"),
            _ => payload,
        };
        Self {
            sort,
            hash,
            stored,
            dialect,
            number,
            from,
            to,
            hidden: false,
        }
    }

    fn of_april(sort: Sort, number: u64) -> Self {
        let to = match sort {
            Sort::Mine | Sort::Bare | Sort::Bad | Sort::Large => ME,
            Sort::Foreign | Sort::BareForeign => "ait1other",
        };
        let from = "ait1from";
        let ballast = "x".repeat(if sort == Sort::Large { 900_000 } else { 0 });
        let text = format!(
            r#"{{"amount":1,"chain_id":"{CHAIN}","fee":10,"from":"{from}","nonce":{number},"payload":"ping {number}{ballast}","signature":null,"to":"{to}"}}"#
        );
        let stored = StoredTransaction::parse(text.as_bytes(), Limits::default()).unwrap();
        let (hash, mut stored) = (stored.hash(), stored.stored_text());
        if sort == Sort::Bad {
            stored = stored.replace("\"amount\":1", "\"amount\":NaN");
        }
        Self {
            sort,
            hash,
            stored,
            dialect: Dialect::April2026,
            number,
            from,
            to,
            hidden: false,
        }
    }

    /// Its row's columns: hash, sender, recipient.
    pub(crate) fn columns(&self) -> (String, &'static str, &'static str) {
        match self.sort {
            Sort::Bare | Sort::BareForeign if self.dialect == Dialect::August2026 => {
                (String::new(), self.from, self.to)
            }
            Sort::Bare | Sort::BareForeign => (String::new(), "", ""),
            Sort::Mine | Sort::Foreign | Sort::Bad | Sort::Large => {
                (self.hash.to_string(), self.from, self.to)
            }
        }
    }

    /// A row in the form of blocks-range and of a follower's metadata.
    pub(crate) fn row(&self, height: u64) -> String {
        let (hash, sender, recipient) = self.columns();
        if self.dialect == Dialect::August2026 {
            let (number, payload) = (self.number, &self.stored);
            return format!(
                r#"{{"chain_id": "{CHAIN}", "tx_hash": "{hash}", "sender": "{sender}", "payload": {payload}, "nonce": {number}, "fee": 36, "status": "confirmed", "tx_metadata": null, "id": 6, "block_height": {height}, "recipient": "{recipient}", "created_at": "2026-08-22T00:00:00.673687", "value": 0, "type": "MESSAGE", "timestamp": "2026-08-22 00:00:00.490367+00:00"}}"#
            );
        }
        format!(
            r#"{{"id": 7, "chain_id": "{CHAIN}", "tx_hash": "{hash}", "block_height": {height}, "sender": "{sender}", "recipient": "{recipient}", "payload": {}, "created_at": "2026-04-01 00:00:00.000000", "nonce": 0, "value": 1, "fee": 10, "status": "confirmed", "timestamp": null, "tx_metadata": null}}"#,
            self.stored
        )
    }

    /// The same in the form of blocks/{height}.
    pub(crate) fn flat_row(&self) -> String {
        let inner = self.stored.strip_suffix('}').unwrap();
        format!(r#"{inner},"tx_hash":"{}"}}"#, self.columns().0)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) height: u64,
    pub(crate) hash: String,
    pub(crate) parent: String,
    pub(crate) timestamp: String,
    pub(crate) tx_count: u64,
    pub(crate) txs: Vec<Tx>,
}

impl Block {
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Tx> {
        self.txs.iter().filter(|tx| !tx.hidden)
    }
}

/// A chain, and counters that make everything on it unique.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) blocks: Vec<Block>,
    dialect: Dialect,
    made: u64,
}

impl Model {
    /// Block 0 alone. Another `salt`, another chain.
    pub(crate) fn new(salt: u64) -> Self {
        Self::of(Dialect::April2026, salt)
    }

    pub(crate) fn of(dialect: Dialect, salt: u64) -> Self {
        let mut model = Self {
            blocks: Vec::new(),
            dialect,
            made: salt,
        };
        let mut genesis = model.make(0, "0x00", &[]);
        genesis.timestamp = format!("{GENESIS_TIME}.{salt:06}");
        genesis.hash = hash_of(&genesis);
        model.blocks.push(genesis);
        model
    }

    fn make(&mut self, height: u64, parent: &str, sorts: &[Sort]) -> Block {
        self.made += 1;
        let timestamp = format!("2026-04-01T00:00:00.{:06}", self.made);
        let txs: Vec<Tx> = sorts.iter().map(|sort| self.tx(*sort)).collect();
        let tx_count = txs.len() as u64;
        let parent = parent.to_owned();
        let mut block = Block {
            height,
            hash: String::new(),
            parent,
            timestamp,
            tx_count,
            txs,
        };
        block.hash = hash_of(&block);
        block
    }

    pub(crate) fn tx(&mut self, sort: Sort) -> Tx {
        self.made += 1;
        Tx::of(self.dialect, sort, self.made)
    }

    pub(crate) fn head(&self) -> u64 {
        self.blocks.last().unwrap().height
    }

    pub(crate) fn append(&mut self, sorts: &[Sort]) {
        let parent = self.blocks.last().unwrap().hash.clone();
        let block = self.make(self.head() + 1, &parent, sorts);
        self.blocks.push(block);
    }

    /// Removes the last blocks, but never block 0.
    pub(crate) fn rewind(&mut self, depth: u64) {
        let left = (self.head() + 1).saturating_sub(depth).max(1);
        self.blocks.truncate(left as usize);
    }

    pub(crate) fn block(&mut self, height: u64) -> &mut Block {
        &mut self.blocks[height as usize]
    }

    /// The wanted transactions from a height on, by (hash, height).
    pub(crate) fn wanted(&self, origin: u64) -> BTreeSet<(TransactionHash, u64)> {
        let of = |block: &Block| {
            let height = block.height;
            let mine = |tx: &&Tx| matches!(tx.sort, Sort::Mine | Sort::Bare);
            block
                .shown()
                .filter(mine)
                .map(|tx| (tx.hash, height))
                .collect::<Vec<_>>()
        };
        self.blocks
            .iter()
            .filter(|block| block.height >= origin)
            .flat_map(of)
            .collect()
    }

    /// The undecodable transactions to [`ME`], by height.
    pub(crate) fn bad(&self, origin: u64) -> BTreeMap<TransactionHash, u64> {
        let blocks = self.blocks.iter().filter(|block| block.height >= origin);
        let bad = |block: &Block| {
            let height = block.height;
            let bad = block.shown().filter(|tx| tx.sort == Sort::Bad);
            bad.map(|tx| (tx.hash, height)).collect::<Vec<_>>()
        };
        blocks.flat_map(bad).collect()
    }
}

fn hash_of(block: &Block) -> String {
    let hashes: Vec<String> = block.txs.iter().map(|tx| tx.hash.to_string()).collect();
    let hashes = hashes.iter().map(String::as_str);
    let Block {
        height,
        parent,
        timestamp,
        ..
    } = block;
    block_hash(&chain_id(), BlockHeight(*height), parent, timestamp, hashes).to_string()
}
