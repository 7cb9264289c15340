//! Importing blocks that another node made: through importBlock, and from a leader.

use agentry_protocol::{
    BlockHeight, ChainId, Dialect, JsonRef, Kind, StoredTransaction, block_hash, isoformat,
};

use crate::chain::accounts::{self, Credit, Transfer};
use crate::chain::blocks::{self, BlockRow, TransactionRow};
use crate::chain::mempool::whole;
use crate::chain::{Chain, ChainError, Doing as _};
use crate::clock;
use crate::dialect;

/// Why a block was not imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("the block has no readable {0}")]
    Field(&'static str),
    #[error("block {height}, transaction {index}: {reason}")]
    Transaction {
        height: u64,
        index: usize,
        reason: String,
    },
    #[error("block {height} counts {counted} transactions and shows {shown}")]
    Incomplete {
        height: u64,
        counted: u64,
        shown: usize,
    },
    #[error("block {height} is of chain {found}, and this node's chain is {ours}")]
    ChainId {
        height: u64,
        found: String,
        ours: ChainId,
    },
    #[error(
        "block {height} does not follow the head, which is {head}; import the blocks between first"
    )]
    Gap { height: u64, head: String },
    #[error("block {height} names the parent {found}, but the block at that height is {ours}")]
    Parent {
        height: u64,
        found: String,
        ours: String,
    },
    #[error("block {height} states the hash {found}, but its content has the hash {computed}")]
    Hash {
        height: u64,
        found: String,
        computed: String,
    },
    #[error("{0}")]
    Chain(#[from] ChainError),
}

/// A transaction of an incoming block.
#[derive(Debug)]
struct IncomingTransaction {
    hash: String,
    stored: StoredTransaction,
    value: i64,
    fee: i64,
}

/// A block as another node gave it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) height: u64,
    pub(crate) hash: String,
    chain: Option<String>,
    parent: String,
    proposer: String,
    state_root: Option<String>,
    dialect: Dialect,
    /// Its proposer's, where blocks have one.
    signature: Option<String>,
    /// In the spelling of the chain's hash formula.
    timestamp: String,
    timestamp_db: String,
    pub(crate) tx_count: u64,
    shown: usize,
    transactions: Vec<IncomingTransaction>,
    /// The received block, as canonical JSON.
    raw: String,
}

fn text(block: JsonRef<'_>, keys: [&str; 2]) -> Option<String> {
    keys.iter()
        .find_map(|key| Some(block.get(key)?.as_str()?.to_owned()))
}

impl Incoming {
    /// Reads a block of blocks-range, of blocks/{height}, or in importBlock's own spelling
    /// (`number`, `parentHash`, `miner`, `chainId`).
    pub(crate) fn read(dialect: Dialect, block: JsonRef<'_>) -> Result<Incoming, ImportError> {
        if block.kind() != Kind::Object {
            return Err(ImportError::Field("JSON object"));
        }
        let height = ["number", "height"]
            .iter()
            .find_map(|key| block.get(key)?.as_u64())
            .filter(|height| i64::try_from(*height).is_ok())
            .ok_or(ImportError::Field("height"))?;
        let hash = text(block, ["hash", "hash"]).ok_or(ImportError::Field("hash"))?;
        let timestamp =
            text(block, ["timestamp", "timestamp"]).ok_or(ImportError::Field("timestamp"))?;
        let timestamp_db = clock::db_from_iso(&timestamp).ok_or(ImportError::Field("timestamp"))?;
        let mut transactions = Vec::new();
        if let Some(items) = block.get("transactions") {
            for (index, item) in items.items().enumerate() {
                let read = read_transaction(dialect, item);
                transactions.push(read.map_err(|reason| ImportError::Transaction {
                    height,
                    index,
                    reason,
                })?);
            }
        }
        let shown = transactions.len();
        Ok(Incoming {
            height,
            hash,
            chain: text(block, ["chainId", "chain_id"]),
            parent: text(block, ["parentHash", "parent_hash"]).unwrap_or_default(),
            proposer: text(block, ["miner", "proposer"]).unwrap_or_default(),
            state_root: text(block, ["stateRoot", "state_root"]),
            signature: dialect::signs_blocks(dialect)
                .then(|| text(block, ["signature", "signature"]).unwrap_or_default()),
            dialect,
            timestamp: isoformat(&timestamp_db),
            timestamp_db,
            tx_count: block
                .get("tx_count")
                .and_then(JsonRef::as_u64)
                .unwrap_or(shown as u64),
            shown,
            transactions,
            raw: block.to_compact(),
        })
    }

    /// Whether it shows fewer or more transactions than it counts.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.tx_count != self.shown as u64
    }

    /// The addresses that its transactions touch.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.transactions
            .iter()
            .flat_map(|item| [item.stored.from.as_str(), item.stored.to.as_str()])
    }

    fn check(&self, chain: &ChainId, head: Option<&BlockRow>) -> Result<(), ImportError> {
        let height = self.height;
        if let Some(found) = self.chain.as_ref().filter(|found| *found != chain.as_str()) {
            return Err(ImportError::ChainId {
                height,
                found: found.clone(),
                ours: chain.clone(),
            });
        }
        if self.is_incomplete() {
            let (counted, shown) = (self.tx_count, self.shown);
            return Err(ImportError::Incomplete {
                height,
                counted,
                shown,
            });
        }
        if height != head.map_or(0, |head| head.height + 1) {
            let head = head.map_or("nothing yet".to_owned(), |head| {
                format!("at {}", head.height)
            });
            return Err(ImportError::Gap { height, head });
        }
        let Some(head) = head else {
            // Block 0 is exempt: a chain may have begun with a block that does not follow the
            // formula.
            return Ok(());
        };
        if !self.parent.is_empty() && self.parent != head.hash {
            let (found, ours) = (self.parent.clone(), head.hash.clone());
            return Err(ImportError::Parent {
                height,
                found,
                ours,
            });
        }
        if !self.dialect.keeps_signatures() {
            // Nobody computes the hashes of such a chain again.
            return Ok(());
        }
        let hashes = self.transactions.iter().map(|item| item.hash.as_str());
        let computed = block_hash(
            chain,
            BlockHeight(height),
            &head.hash,
            &self.timestamp,
            hashes,
        )
        .to_string();
        if computed != self.hash {
            return Err(ImportError::Hash {
                height,
                found: self.hash.clone(),
                computed,
            });
        }
        Ok(())
    }

    fn row(&self, parent_hash: String, proposer: String, metadata: Option<String>) -> BlockRow {
        BlockRow {
            height: self.height,
            hash: self.hash.clone(),
            parent_hash,
            proposer,
            timestamp: self.timestamp_db.clone(),
            tx_count: self.tx_count,
            state_root: self.state_root.clone(),
            metadata,
            signature: self.signature.clone(),
        }
    }
}

fn read_transaction(dialect: Dialect, item: JsonRef<'_>) -> Result<IncomingTransaction, String> {
    let stored = dialect::incoming(dialect, item)?;
    let claimed = item.get("tx_hash").and_then(JsonRef::as_str);
    let hash = match claimed {
        // It covers a signature that nobody shows, and nobody checks it.
        Some(claimed) if !dialect.keeps_signatures() => claimed.to_owned(),
        _ => stored.hash().to_string(),
    };
    match claimed {
        Some(claimed) if claimed != hash => {
            return Err(format!(
                "its tx_hash is {claimed}, but its content has the hash {hash}"
            ));
        }
        _ => {}
    }
    let value = whole(&stored.amount).ok_or("its amount is not a 64-bit integer")?;
    let fee = whole(&stored.fee).ok_or("its fee is not a 64-bit integer")?;
    Ok(IncomingTransaction {
        hash,
        stored,
        value,
        fee,
    })
}

/// How blocks are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filing {
    /// Checked, with transaction rows and accounts.
    Whole,
    /// As AITBC's importBlock does (hazard 4 in `docs/hazards.md`): unchecked, with transactions
    /// only in `block_metadata`.
    HeaderOnly,
}

impl Chain {
    /// Imports blocks that follow the head, with the credits that their transfers depend on, in one
    /// SQLite transaction. Returns how many transactions were imported.
    pub(crate) fn import(
        &mut self,
        incoming: &[Incoming],
        credits: &[Credit],
        filing: Filing,
    ) -> Result<u64, ImportError> {
        let mut head = self.head()?;
        let now = clock::db_text(clock::now_micros());
        let mut mined = Vec::new();
        let transaction = self.db.unchecked_transaction().doing("importing blocks")?;
        if filing == Filing::Whole {
            self.repeat_credits(credits, &now)?;
        }
        for block in incoming {
            let row = match filing {
                Filing::Whole => {
                    block.check(&self.id, head.as_ref())?;
                    let parent = match (&head, block.parent.as_str()) {
                        (Some(head), _) => head.hash.clone(),
                        (None, "") => crate::chain::GENESIS_PARENT.to_owned(),
                        (None, parent) => parent.to_owned(),
                    };
                    self.file(block, &now)?;
                    block.row(parent, block.proposer.clone(), None)
                }
                Filing::HeaderOnly => {
                    block.row(String::new(), String::new(), Some(block.raw.clone()))
                }
            };
            blocks::insert(&transaction, self.id.as_str(), &row)?;
            mined.extend(block.transactions.iter().map(|item| item.hash.clone()));
            head = Some(row);
        }
        transaction.commit().doing("importing blocks")?;
        self.pool.remove(&mined)?;
        Ok(mined.len() as u64)
    }

    fn file(&self, block: &Incoming, now: &str) -> Result<(), ImportError> {
        for (index, item) in block.transactions.iter().enumerate() {
            let transfer = Transfer {
                sender: item.stored.from.as_str(),
                recipient: item.stored.to.as_str(),
                value: item.value,
                fee: item.fee,
            };
            let nonce =
                accounts::apply(&self.db, self.id.as_str(), transfer, now)?.ok_or_else(|| {
                    let reason = "a balance exceeds the range of a 64-bit integer".to_owned();
                    ImportError::Transaction {
                        height: block.height,
                        index,
                        reason,
                    }
                })?;
            let row = dialect::row(&item.stored, item.hash.clone(), now);
            let row = TransactionRow {
                height: Some(block.height),
                nonce: if row.kind.is_some() { row.nonce } else { nonce },
                value: item.value,
                fee: item.fee,
                // A follower of August 2026 does not know it.
                timestamp: row.kind.is_none().then(|| block.timestamp_db.clone()),
                ..row
            };
            blocks::insert_row(&self.db, self.id.as_str(), &row)?;
            let digest = item.stored.digest().to_string();
            accounts::record_digest(&self.db, &digest, &item.hash, false)?;
        }
        Ok(())
    }

    /// Stores one block as AITBC's importBlock does: under the chain that it names, else
    /// `ait-mainnet`, whatever this node's own chain is.
    pub(crate) fn import_as_aitbc(&mut self, block: &Incoming) -> Result<(), ImportError> {
        let chain = block.chain.as_deref().unwrap_or("ait-mainnet");
        let row = block.row(
            block.parent.clone(),
            block.proposer.clone(),
            Some(block.raw.clone()),
        );
        Ok(blocks::insert(&self.db, chain, &row)?)
    }
}
