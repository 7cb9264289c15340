//! The pending transactions: the rows of mempool.db, and an index of them in memory for the lookups
//! that SQL could not answer without parsing every row (spends, nonces and digests of a sender).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use agentry_protocol::{Limits, MessageDigest, Number, StoredTransaction};
use rusqlite::{Connection, params};

use super::error::{ChainError, Doing as _};
use super::schema;

/// An amount as the chain counts it: a whole number that fits 64 bits. Older clients write whole
/// numbers as floats (`1.0`), which are accepted.
pub(crate) fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let value = number.as_f64().filter(|_| !number.is_integer())?;
        // Every whole float in this range converts exactly.
        let fits = value.fract() == 0.0 && (-9.2e18..9.2e18).contains(&value);
        fits.then_some(value as i64)
    })
}

/// A pending transaction.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) hash: Arc<str>,
    pub(crate) stored: StoredTransaction,
    /// The stored form as text.
    pub(crate) content: Arc<str>,
    pub(crate) digest: MessageDigest,
    /// Whether its signature was checked against a public key that owns `from`.
    pub(crate) verified: bool,
    /// Amount and fee, if both fit the chain's columns.
    pub(crate) cost: Option<(i64, i64)>,
    /// Unix time in seconds.
    pub(crate) received_at: f64,
}

impl Pending {
    /// Prepares a transaction for the mempool.
    pub(crate) fn new(stored: StoredTransaction, verified: bool, received_at: f64) -> Pending {
        let content: Arc<str> = stored.stored_text().into();
        Pending {
            hash: stored.hash().to_string().into(),
            digest: stored.digest(),
            verified,
            cost: whole(&stored.amount).zip(whole(&stored.fee)),
            content,
            stored,
            received_at,
        }
    }

    /// The size that counts against a block's limit, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.content.len()
    }

    /// The fee by which a block orders its transactions.
    pub(crate) fn fee(&self) -> i64 {
        self.cost.map_or(0, |(_, fee)| fee)
    }

    /// What it costs the sender; 0 if that cannot be counted.
    pub(crate) fn spend(&self) -> i128 {
        self.cost
            .map_or(0, |(amount, fee)| i128::from(amount) + i128::from(fee))
    }

    /// The transaction's own nonce, if it is a counter.
    pub(crate) fn nonce(&self) -> Option<i64> {
        whole(&self.stored.nonce)
    }
}

#[derive(Debug, Default)]
struct Sender {
    spend: i128,
    count: usize,
    nonces: BTreeSet<i64>,
}

/// A place in the mempool's order: highest fee first, then oldest first.
type Place = (Reverse<i64>, u64);

/// The pending transactions of one chain.
#[derive(Debug)]
pub(crate) struct Mempool {
    db: Connection,
    chain: String,
    order: BTreeMap<Place, Arc<Pending>>,
    places: HashMap<Arc<str>, Place>,
    digests: HashMap<MessageDigest, Vec<(Arc<str>, bool)>>,
    senders: HashMap<String, Sender>,
    arrivals: u64,
    bytes: usize,
}

impl Mempool {
    /// Opens mempool.db and reads the pending transactions. A row that is not a transaction is
    /// reported and left alone: AITBC's own programs may have put it there.
    pub(crate) fn open(path: &Path, chain: &str) -> Result<Mempool, ChainError> {
        let db = schema::open_mempool(path)?;
        let mut pool = Mempool {
            db,
            chain: chain.to_owned(),
            order: BTreeMap::new(),
            places: HashMap::new(),
            digests: HashMap::new(),
            senders: HashMap::new(),
            arrivals: 0,
            bytes: 0,
        };
        let rows: Vec<(String, f64)> = pool
            .db
            .prepare("SELECT content, received_at FROM mempool WHERE chain_id = ?1 ORDER BY rowid")
            .and_then(|mut statement| {
                statement
                    .query_map([chain], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .doing("reading the mempool")?;
        for (content, received_at) in rows {
            match StoredTransaction::parse(content.as_bytes(), Limits::default()) {
                Ok(stored) => pool.index(Pending::new(stored, false, received_at)),
                Err(error) => tracing::warn!(%error, "a mempool row is not a transaction; skipped"),
            }
        }
        Ok(pool)
    }

    /// Adds a transaction, durably. If its hash is already pending, nothing changes.
    pub(crate) fn add(&mut self, pending: Pending) -> Result<(), ChainError> {
        insert(&self.db, &self.chain, &pending)?;
        self.index(pending);
        Ok(())
    }

    /// Adds many in one SQLite transaction.
    pub(crate) fn add_all(&mut self, batch: Vec<Pending>) -> Result<(), ChainError> {
        let transaction = self
            .db
            .unchecked_transaction()
            .doing("writing the mempool")?;
        for pending in &batch {
            insert(&transaction, &self.chain, pending)?;
        }
        transaction.commit().doing("writing the mempool")?;
        for pending in batch {
            self.index(pending);
        }
        Ok(())
    }

    /// Removes transactions by hash, durably; those that are not pending are skipped.
    pub(crate) fn remove<S: AsRef<str>>(&mut self, hashes: &[S]) -> Result<(), ChainError> {
        let transaction = self
            .db
            .unchecked_transaction()
            .doing("emptying the mempool")?;
        {
            let mut statement = transaction
                .prepare_cached("DELETE FROM mempool WHERE chain_id = ?1 AND tx_hash = ?2")
                .doing("emptying the mempool")?;
            for hash in hashes {
                statement
                    .execute([self.chain.as_str(), hash.as_ref()])
                    .doing("emptying the mempool")?;
            }
        }
        transaction.commit().doing("emptying the mempool")?;
        for hash in hashes {
            self.unindex(hash.as_ref());
        }
        Ok(())
    }

    fn index(&mut self, pending: Pending) {
        if self.places.contains_key(&pending.hash) {
            return;
        }
        self.arrivals += 1;
        self.bytes += pending.size();
        let place = (Reverse(pending.fee()), self.arrivals);
        self.digests
            .entry(pending.digest)
            .or_default()
            .push((pending.hash.clone(), pending.verified));
        let sender = self
            .senders
            .entry(pending.stored.from.as_str().to_owned())
            .or_default();
        sender.spend += pending.spend();
        sender.count += 1;
        sender.nonces.extend(pending.nonce());
        self.places.insert(pending.hash.clone(), place);
        self.order.insert(place, Arc::new(pending));
    }

    fn unindex(&mut self, hash: &str) {
        let Some(pending) = self
            .places
            .remove(hash)
            .and_then(|place| self.order.remove(&place))
        else {
            return;
        };
        self.bytes -= pending.size();
        if let Some(same) = self.digests.get_mut(&pending.digest) {
            same.retain(|(other, _)| other.as_ref() != hash);
            if same.is_empty() {
                self.digests.remove(&pending.digest);
            }
        }
        let from = pending.stored.from.as_str();
        if let Some(sender) = self.senders.get_mut(from) {
            sender.spend -= pending.spend();
            sender.count -= 1;
            if let Some(nonce) = pending.nonce() {
                sender.nonces.remove(&nonce);
            }
            if sender.count == 0 {
                self.senders.remove(from);
            }
        }
    }

    /// How many are pending.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many bytes the pending transactions' stored forms have.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pending transactions, highest fee first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Pending>> {
        self.order.values()
    }

    /// The pending transaction with a hash.
    pub(crate) fn get(&self, hash: &str) -> Option<&Arc<Pending>> {
        self.order.get(self.places.get(hash)?)
    }

    /// The pending transactions with this signed content: hash, and whether verified.
    pub(crate) fn same_digest(&self, digest: &MessageDigest) -> &[(Arc<str>, bool)] {
        self.digests.get(digest).map_or(&[], Vec::as_slice)
    }

    /// The total cost of a sender's pending transactions, and their number.
    pub(crate) fn pending_of(&self, sender: &str) -> (i128, usize) {
        self.senders
            .get(sender)
            .map_or((0, 0), |sender| (sender.spend, sender.count))
    }

    /// The first nonce from `counter` on that no pending transaction of the sender holds.
    pub(crate) fn next_nonce(&self, sender: &str, counter: i64) -> i64 {
        let mut next = counter;
        if let Some(sender) = self.senders.get(sender) {
            for nonce in sender.nonces.range(counter..) {
                if *nonce != next {
                    break;
                }
                next += 1;
            }
        }
        next
    }
}

fn insert(db: &Connection, chain: &str, pending: &Pending) -> Result<(), ChainError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO mempool (chain_id, tx_hash, content, fee, size_bytes, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            chain,
            pending.hash.as_ref(),
            pending.content.as_ref(),
            pending.fee(),
            super::blocks::signed(pending.size() as u64),
            pending.received_at
        ])
    })
    .doing("writing the mempool")?;
    Ok(())
}
