//! Producing blocks from pending transactions.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use agentry_protocol::{BlockHash, BlockHeight, Dialect};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::chain::accounts::{self, Transfer};
use crate::chain::blocks::{self, BlockRow, TransactionRow};
use crate::chain::mempool::Pending;
use crate::chain::{Chain, ChainError, Doing as _};
use crate::clock;
use crate::config::{DevnetConfig, NoncePolicy};
use crate::dialect::{self, august};
use crate::fault::{Fault, Faults};
use crate::rules::{MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS};

/// How many blocks later the fault `late-rows` writes a block's rows.
const LATE_BY: u64 = 2;

/// A block that was produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedBlock {
    /// Its height.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
    /// How many transactions it holds.
    pub tx_count: u64,
}

/// A block that was produced, with what was pushed of it.
pub(crate) struct Produced {
    pub(crate) block: MinedBlock,
    pub(crate) row: BlockRow,
    /// Its transactions.
    pub(crate) mined: Vec<Arc<Pending>>,
}

/// What happens to one pending transaction when a block is produced.
enum Decision {
    /// It is in the block; its row.
    Mined(Box<TransactionRow>),
    /// It is removed from the mempool and not mined.
    Dropped,
    /// It stays pending.
    Waits,
}

/// How this block is produced.
struct Making<'a> {
    dialect: Dialect,
    /// Whether a transaction that the node cannot handle takes all others with it.
    breaks: bool,
    chain_id: &'a str,
    height: u64,
    now: &'a str,
    nonces: NoncePolicy,
    /// Probability of a silent drop.
    drop: Option<f64>,
    /// Whether a transaction that cannot be paid is dropped, and not kept waiting.
    drops_unpayable: bool,
    replay_destroys: bool,
}

/// Produces the next block and commits it; then removes its transactions from the mempool.
pub(crate) fn produce(
    chain: &mut Chain,
    config: &DevnetConfig,
    faults: &Faults,
    rng: &mut StdRng,
) -> Result<Produced, ChainError> {
    let head = chain.head()?.ok_or(ChainError::Empty)?;
    let now = clock::db_text(clock::now_micros());
    let id = chain.id.clone();
    let drop = match faults.get("silent-drop") {
        Some(Fault::SilentDrop(probability)) => Some(probability.get()),
        _ => None,
    };
    let making = Making {
        dialect: config.dialect,
        breaks: faults.get("batch-loss").is_some(),
        chain_id: id.as_str(),
        height: head.height + 1,
        now: &now,
        nonces: config.account_nonces,
        drop,
        drops_unpayable: drop.is_some() || faults.get("no-signature-check").is_some(),
        replay_destroys: faults.get("replay-destroys-block").is_some(),
    };
    let filled = match making.fill(chain, &head, config, faults, rng) {
        Err(ChainError::BlockDestroyed { hash, reason }) => {
            let lost: Vec<_> =
                within_limits(in_order(chain, config.dialect, config.account_nonces))
                    .map(|pending| pending.hash.clone())
                    .collect();
            tracing::error!(
                hash,
                reason,
                lost = lost.len(),
                "fault: a block was destroyed"
            );
            chain.pool.remove(&lost)?;
            return Err(ChainError::BlockDestroyed { hash, reason });
        }
        filled => filled?,
    };
    // Until here a crash leaves the mined transactions also in mempool.db; `Chain::open` fixes it.
    chain.pool.remove(&filled.leaving)?;
    if !filled.held_back.is_empty() {
        chain.hold_rows(making.height + LATE_BY, filled.held_back);
    }
    let due = faults.get("late-rows").is_some().then_some(making.height);
    chain.release_rows(due)?;
    Ok(filled.produced)
}

struct Filled {
    produced: Produced,
    /// Hashes to be removed from the mempool.
    leaving: Vec<Arc<str>>,
    held_back: Vec<TransactionRow>,
}

impl Making<'_> {
    /// Fills and commits the block.
    fn fill(
        &self,
        chain: &Chain,
        head: &BlockRow,
        config: &DevnetConfig,
        faults: &Faults,
        rng: &mut StdRng,
    ) -> Result<Filled, ChainError> {
        let transaction = chain.db.unchecked_transaction().doing("making a block")?;
        let mut leaving = Vec::new();
        let (mut rows, mut mined) = (Vec::new(), Vec::new());
        let (mut count, mut bytes) = (0, 0);
        let mut counters = HashMap::new();
        for pending in in_order(chain, self.dialect, self.nonces) {
            if count >= MAX_BLOCK_TRANSACTIONS {
                break;
            }
            if bytes + pending.size() > MAX_BLOCK_BYTES {
                continue;
            }
            match self.decide(&transaction, &pending, &mut counters, rng)? {
                Decision::Mined(row) => {
                    accounts::record_digest(
                        &transaction,
                        &pending.digest.to_string(),
                        &pending.hash,
                        pending.verified,
                    )?;
                    rows.push(*row);
                    mined.push(Arc::clone(&pending));
                }
                Decision::Dropped => {}
                Decision::Waits => continue,
            }
            leaving.push(pending.hash.clone());
            count += 1;
            bytes += pending.size();
        }
        let hashes = rows.iter().map(|row| row.hash.as_str());
        let (block, hash) = BlockRow::after(
            self.dialect,
            head,
            &chain.id,
            &config.proposer_id,
            self.now,
            hashes,
        );
        blocks::insert(&transaction, self.chain_id, &block)?;
        if faults.get("empty-hash").is_some()
            && let Some(first) = rows.first_mut()
            && !blocks::is_mined(&transaction, self.chain_id, "")?
        {
            first.hash.clear();
        }
        let held_back = if faults.get("late-rows").is_some() {
            rows
        } else {
            for row in &rows {
                blocks::insert_row(&transaction, self.chain_id, row)?;
            }
            Vec::new()
        };
        transaction.commit().doing("committing a block")?;
        Ok(Filled {
            produced: Produced {
                block: MinedBlock {
                    height: BlockHeight(block.height),
                    hash,
                    tx_count: block.tx_count,
                },
                row: block,
                mined,
            },
            leaving,
            held_back,
        })
    }

    fn decide(
        &self,
        db: &rusqlite::Connection,
        pending: &Pending,
        counters: &mut HashMap<String, i64>,
        rng: &mut StdRng,
    ) -> Result<Decision, ChainError> {
        let destroyed = |reason| ChainError::BlockDestroyed {
            hash: pending.hash.to_string(),
            reason,
        };
        let dropped = |why: &'static str| {
            tracing::warn!(hash = %pending.hash, why, "a pending transaction was dropped");
            Ok(Decision::Dropped)
        };
        if blocks::is_mined(db, self.chain_id, &pending.hash)? {
            if self.replay_destroys {
                return Err(destroyed(
                    "it is already mined, and its hash must be unique",
                ));
            }
            return dropped("it is already mined");
        }
        if self
            .drop
            .is_some_and(|probability| rng.random_bool(probability))
        {
            return dropped("fault: silent-drop");
        }
        if dialect::checks_at_block(self.dialect) {
            if august::breaks_blocks(&pending.stored) {
                return match self.breaks {
                    true => Err(destroyed("the node cannot handle it, and loses the batch")),
                    false => dropped("the node cannot handle it"),
                };
            }
            let mined = august::mine((db, self.chain_id), pending, counters, self.now)?;
            return match mined {
                Ok(row) => Ok(Decision::Mined(Box::new(TransactionRow {
                    height: Some(self.height),
                    ..row
                }))),
                Err(why) => dropped(why),
            };
        }
        let unpayable = |why| {
            if self.drops_unpayable {
                dropped(why)
            } else {
                Ok(Decision::Waits)
            }
        };
        let sender = pending.stored.from.as_str();
        let Some((value, fee)) = pending.cost else {
            if pending.stored.amount.is_negative() {
                return Err(destroyed("its amount does not fit a 64-bit integer"));
            }
            return dropped("its amount or fee is not a number that a balance can hold");
        };
        let Some(account) = accounts::get(db, self.chain_id, sender)? else {
            return unpayable("unknown sender");
        };
        if i128::from(account.balance) < pending.spend() {
            return unpayable("the sender cannot pay");
        }
        if self.nonces == NoncePolicy::Sequential && !self.drops_unpayable {
            match pending.nonce() {
                Some(nonce) if nonce == account.nonce => {}
                Some(nonce) if nonce > account.nonce => return Ok(Decision::Waits),
                _ => return dropped("its nonce is stale"),
            }
        }
        let recipient = pending.stored.to.as_str();
        let transfer = Transfer {
            sender,
            recipient,
            value,
            fee,
        };
        let Some(nonce) = accounts::apply(db, self.chain_id, transfer, self.now)? else {
            return Err(destroyed("a balance exceeds the range of a 64-bit integer"));
        };
        Ok(Decision::Mined(Box::new(TransactionRow {
            height: Some(self.height),
            nonce,
            value,
            fee,
            ..dialect::row(&pending.stored, pending.hash.to_string(), self.now)
        })))
    }
}

/// The transactions that AITBC's node would drain for one block.
fn within_limits(
    pending: impl IntoIterator<Item = Arc<Pending>>,
) -> impl Iterator<Item = Arc<Pending>> {
    let mut bytes = 0;
    pending
        .into_iter()
        .filter(move |pending| {
            let fits = bytes + pending.size() <= MAX_BLOCK_BYTES;
            if fits {
                bytes += pending.size();
            }
            fits
        })
        .take(MAX_BLOCK_TRANSACTIONS)
}

/// The pending transactions in the order in which a block takes them: highest fee first, then
/// oldest first. Under sequential nonces the transactions of one sender stay in the order of their
/// nonces, and the fee of its next one decides the sender's place.
fn in_order(chain: &Chain, dialect: Dialect, nonces: NoncePolicy) -> Vec<Arc<Pending>> {
    if dialect::orders_by_hash(dialect) {
        let mut all: Vec<_> = chain.pool.iter().cloned().collect();
        all.sort_by(|one, other| (other.fee(), &one.hash).cmp(&(one.fee(), &other.hash)));
        return all;
    }
    if nonces == NoncePolicy::Ignored {
        return chain.pool.iter().cloned().collect();
    }
    let mut senders: HashMap<&str, Vec<&Arc<Pending>>> = HashMap::new();
    for pending in chain.pool.iter() {
        senders
            .entry(pending.stored.from.as_str())
            .or_default()
            .push(pending);
    }
    let mut queues: Vec<VecDeque<&Arc<Pending>>> = senders
        .into_values()
        .map(|mut queue| {
            queue.sort_by_key(|pending| pending.nonce());
            queue.into()
        })
        .collect();
    // Age breaks ties: of equal fees, the one received first.
    let rank = |pending: &Pending, queue: usize| {
        (
            pending.fee(),
            std::cmp::Reverse((pending.received_at * 1e6) as i64),
            queue,
        )
    };
    let mut line: BinaryHeap<_> = queues
        .iter()
        .enumerate()
        .filter_map(|(index, queue)| Some(rank(queue.front()?, index)))
        .collect();
    let mut order = Vec::with_capacity(chain.pool.len());
    while let Some((_, _, index)) = line.pop() {
        let queue = &mut queues[index];
        order.extend(queue.pop_front().cloned());
        if let Some(next) = queue.front() {
            line.push(rank(next, index));
        }
    }
    order
}
