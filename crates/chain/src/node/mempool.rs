//! The mempool, and the proof that it was read whole.
//!
//! Nodes of August 2026 show an empty one to whoever does not name the chain. So it is not read at all
//! then: such an answer would prove nothing.
//!
//! Anyone can fill a mempool, and make its answer as long as they like. So it is read transaction
//! by transaction while it arrives, and only what the caller asked for is kept.

use std::collections::HashSet;

use agentry_protocol::{StoredTransaction, TransactionHash};

use crate::dialect;
use crate::list::Item;
use crate::node::client::{List, NodeClient};
use crate::node::{Mempool, NodeError};
use crate::raw::Object;
use crate::row::Row;

/// How often the limit is raised before the call fails: by 4 each time, up to 4^8 times the first
/// one.
const RAISES: u32 = 8;

/// The longest pending transaction that is read. A node mines none above 1 MB, which JSON may spell
/// in more bytes than the node counts.
const LONGEST_TRANSACTION: usize = 4 << 20;

/// How many bytes of pending transactions are kept for the caller.
const MOST_KEPT: usize = 64 << 20;

/// How many hashes are kept: a hundred times the size of a node's mempool. Each transaction has
/// two: the one under which the node lists it, and the one computed from its content.
const MOST_HASHES: usize = 2_000_000;

/// How many pending transactions are requested when those of some senders are searched: as many as
/// are ever read.
const ALL: u64 = 1_000_000;

/// A summary of a mempool without its transactions.
#[derive(Debug, Clone, Copy)]
struct Count {
    count: u64,
    undecodable: u64,
}

/// How many bytes of a mempool's transactions were to be kept so far.
#[derive(Debug, Default)]
struct Kept(usize);

impl Kept {
    /// Whether a transaction of so many bytes fits, with those before it.
    fn fits(&mut self, bytes: usize) -> bool {
        self.0 = self.0.saturating_add(bytes);
        self.0 <= MOST_KEPT
    }

    /// Whether all of them fitted.
    fn check(&self, node: &NodeClient) -> Result<(), NodeError> {
        if self.0 <= MOST_KEPT {
            return Ok(());
        }
        Err(NodeError::TooLarge {
            call: "GET /rpc/mempool".to_owned(),
            node: node.url().to_owned(),
            limit: MOST_KEPT,
        })
    }
}

impl NodeClient {
    /// At most `limit` pending transactions, highest fee first.
    ///
    /// # Errors
    /// A failed call, an unreadable answer, one whose `count` is not the length of its list, or
    /// more than 64 MiB of transactions. One undecodable transaction is no error: it is counted.
    pub async fn mempool(&self, limit: u64) -> Result<Mempool, NodeError> {
        let (mut transactions, mut hashes) = (Vec::new(), HashSet::new());
        let mut kept = Kept::default();
        let counted = self
            .pending(limit, &mut |named, stored, bytes| {
                if kept.fits(bytes) {
                    hashes.extend(named);
                    if let Some(stored) = stored {
                        hashes.insert(stored.hash());
                        transactions.push(stored);
                    }
                }
            })
            .await?;
        kept.check(self)?;
        Ok(Mempool {
            transactions,
            hashes,
            count: counted.count,
            undecodable: counted.undecodable,
            complete: counted.count < limit,
        })
    }

    /// A pending transaction by its hash, looked for among the `limit` with the highest fees.
    ///
    /// # Errors
    /// As [`mempool`](Self::mempool), however large the mempool is.
    pub async fn find_pending(
        &self,
        hash: &TransactionHash,
        limit: u64,
    ) -> Result<Option<StoredTransaction>, NodeError> {
        let mut found = None;
        self.pending(limit, &mut |named, stored, _| {
            let is_it = |stored: &StoredTransaction| named == Some(*hash) || stored.hash() == *hash;
            if found.is_none() {
                found = stored.filter(is_it);
            }
        })
        .await?;
        Ok(found)
    }

    /// The pending transactions that are `wanted`. The whole mempool is read, and nothing else of
    /// it is kept.
    ///
    /// # Errors
    /// As [`mempool`](Self::mempool), but the limit in bytes applies only to wanted transactions.
    pub async fn pending_that(
        &self,
        wanted: impl Fn(&StoredTransaction) -> bool + Send + Sync,
    ) -> Result<Vec<StoredTransaction>, NodeError> {
        let mut found = Vec::new();
        let mut kept = Kept::default();
        self.pending(ALL, &mut |_, stored, bytes| {
            let stored = stored.filter(|stored| wanted(stored) && kept.fits(bytes));
            found.extend(stored);
        })
        .await?;
        kept.check(self)?;
        Ok(found)
    }

    /// The hashes of the whole mempool: the limit is raised until the node lists fewer transactions
    /// than were requested. Only an `Ok` of this call may serve as evidence that a hash is absent.
    ///
    /// # Errors
    /// Whenever completeness cannot be shown: a failed call, an unreadable or truncated answer, or
    /// [`NodeError::Incomplete`] when raising the limit does not help, or when there are more than a
    /// million transactions.
    pub async fn mempool_hashes(&self) -> Result<HashSet<TransactionHash>, NodeError> {
        let mut limit = self.options().mempool_limit.max(1);
        let incomplete = |reason: String| NodeError::Incomplete {
            node: self.url().to_owned(),
            reason,
        };
        for _ in 0..=RAISES {
            let mut hashes = HashSet::new();
            let counted = self
                .pending(limit, &mut |named, stored, _| {
                    if hashes.len() <= MOST_HASHES {
                        hashes.extend(named);
                        hashes.extend(stored.map(|stored| stored.hash()));
                    }
                })
                .await?;
            if hashes.len() > MOST_HASHES {
                let count = counted.count;
                return Err(incomplete(format!("it holds {count} transactions")));
            }
            if counted.count < limit {
                return Ok(hashes);
            }
            limit = limit.saturating_mul(4).max(counted.count.saturating_add(1));
        }
        let reason = format!("it still fills the limit at {} transactions", limit / 4);
        Err(incomplete(reason))
    }

    /// Hands the pending transactions to `take`, one by one: the hash under which the node lists
    /// it, the transaction if it can be decoded, and the length of its text.
    async fn pending(
        &self,
        limit: u64,
        take: &mut (dyn FnMut(Option<TransactionHash>, Option<StoredTransaction>, usize) + Send),
    ) -> Result<Count, NodeError> {
        let options = self.options();
        if options.chain.is_none() && dialect::names_chain(options.dialect) {
            return Err(NodeError::Incomplete {
                node: self.url().to_owned(),
                reason:
                    "its chain is not known, and a node shows nothing to whoever does not name it"
                        .to_owned(),
            });
        }
        let path = self.with_chain(format!("/rpc/mempool?limit={limit}"));
        let list = List {
            key: "transactions",
            longest_item: LONGEST_TRANSACTION,
        };
        let (mut listed, mut undecodable) = (0_u64, 0_u64);
        let mut first_reason = None;
        let rest = self
            .get_list(&path, list, &mut |item| {
                listed += 1;
                let Item::Text(text) = item else {
                    undecodable += 1;
                    return;
                };
                let row = Row::cut(self.configured_dialect(), text);
                match row.decode() {
                    Ok((_, stored)) => take(row.hash, Some(stored), text.len()),
                    Err(reason) => {
                        undecodable += 1;
                        first_reason = first_reason.take().or(Some(reason));
                        if row.hash.is_some() {
                            take(row.hash, None, text.len());
                        }
                    }
                }
            })
            .await?;
        if undecodable > 0 {
            tracing::debug!(
                chain.node = self.url(),
                transactions = undecodable,
                reason = first_reason,
                "some pending transactions cannot be decoded"
            );
        }
        let unreadable = |reason: &str| self.unreadable(&path, reason);
        let object = Object::parse(&rest).map_err(|error| self.unreadable(&path, error))?;
        if object.boolean("success") == Some(false) {
            return Err(unreadable("it reports that the call did not succeed"));
        }
        if object.get("transactions") != Some(b"[]") {
            return Err(unreadable("it has no list"));
        }
        let count = object
            .unsigned("count")
            .ok_or_else(|| unreadable("it has no count"))?;
        if count != listed {
            let reason = format!("it counts {count} transactions and lists {listed}");
            return Err(unreadable(&reason));
        }
        Ok(Count { count, undecodable })
    }
}
