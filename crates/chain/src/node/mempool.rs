//! The mempool, and the proof that it was read whole.

use std::collections::HashSet;

use agentry_protocol::TransactionHash;

use crate::node::client::{NodeClient, Size};
use crate::node::{Mempool, NodeError};
use crate::raw::{self, Object};
use crate::row::Row;

/// How often the limit is raised before giving up: by 4 each time, 4^8 times the first one.
const RAISES: u32 = 8;

impl NodeClient {
    /// At most `limit` pending transactions, highest fee first.
    ///
    /// # Errors
    /// A failed call, an unreadable answer, or one whose `count` is not the length of its list. One
    /// undecodable transaction is no error: it is counted.
    pub async fn mempool(&self, limit: u64) -> Result<Mempool, NodeError> {
        let path = format!("/rpc/mempool?limit={limit}");
        let body = self.get(&path, Size::Large).await?;
        let unreadable = |reason: &str| self.unreadable(&path, reason);
        let object = Object::parse(&body).map_err(|error| self.unreadable(&path, error))?;
        if object.boolean("success") == Some(false) {
            return Err(unreadable("it says that the call did not succeed"));
        }
        let list = object
            .get("transactions")
            .ok_or_else(|| unreadable("it has no list"))?;
        let items = raw::items(list).map_err(|error| self.unreadable(&path, error))?;
        let count = object
            .unsigned("count")
            .ok_or_else(|| unreadable("it has no count"))?;
        if usize::try_from(count) != Ok(items.len()) {
            let reason = format!("it counts {count} transactions and lists {}", items.len());
            return Err(unreadable(&reason));
        }
        let mut mempool = Mempool {
            transactions: Vec::with_capacity(items.len()),
            hashes: HashSet::with_capacity(items.len()),
            count,
            undecodable: 0,
            complete: count < limit,
        };
        for item in items {
            let row = Row::cut(item);
            mempool.hashes.extend(row.hash);
            match row.decode() {
                Ok((_, stored)) => {
                    mempool.hashes.insert(stored.hash());
                    mempool.transactions.push(stored);
                }
                Err(reason) => {
                    mempool.undecodable += 1;
                    tracing::debug!(
                        chain.node = self.url(),
                        reason,
                        "a pending transaction cannot be decoded"
                    );
                }
            }
        }
        Ok(mempool)
    }

    /// The hashes of the whole mempool: the limit is raised until fewer transactions come than were
    /// asked for. Only an `Ok` of this call may serve as evidence that a hash is absent.
    ///
    /// # Errors
    /// Whenever completeness cannot be shown: a failed call, an unreadable or truncated answer, or
    /// [`NodeError::Incomplete`] when raising the limit does not help.
    pub async fn mempool_hashes(&self) -> Result<HashSet<TransactionHash>, NodeError> {
        let mut limit = self.options().mempool_limit.max(1);
        for _ in 0..=RAISES {
            let mempool = self.mempool(limit).await?;
            if mempool.complete {
                return Ok(mempool.hashes);
            }
            limit = limit.saturating_mul(4).max(mempool.count.saturating_add(1));
        }
        Err(NodeError::Incomplete {
            node: self.url().to_owned(),
            reason: format!("it still fills the limit at {} transactions", limit / 4),
        })
    }
}
