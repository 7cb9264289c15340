//! A transaction that a follower forwarded to its leader stays in the follower's mempool until it
//! is imported, so that readers of this node do not take it for lost while it is on its way.
//!
//! If the leader loses it, it is removed here, too. It is absent when the leader's whole mempool
//! lacks it and this node has imported a block above the height at which it was first missing.

use std::collections::HashSet;
use std::sync::Arc;

use super::{FollowError, blocking, is_settled};
use crate::node::{Node, lock};

/// Checks the forwarded transactions at a moment when this node has caught up with its leader.
pub(crate) async fn check_forwarded(node: &Arc<Node>, our_height: u64) -> Result<(), FollowError> {
    let waiting: Vec<String> = lock(&node.forwarded).keys().cloned().collect();
    let Some(leader) = node.leader.as_ref().filter(|_| !waiting.is_empty()) else {
        return Ok(());
    };
    let finished = blocking(node, move |node| -> Result<HashSet<String>, FollowError> {
        let chain = node.chain();
        Ok(waiting
            .into_iter()
            .filter(|hash| is_settled(&chain, hash))
            .collect())
    })
    .await?;
    let left = {
        let mut forwarded = lock(&node.forwarded);
        forwarded.retain(|hash, _| !finished.contains(hash));
        forwarded.len()
    };
    if left == 0 {
        return Ok(());
    }
    let pending = leader.client.mempool_hashes().await?;
    let Some(head) = leader.client.head().await? else {
        return Ok(());
    };
    let pending: HashSet<String> = pending.iter().map(ToString::to_string).collect();
    let mut lost = Vec::new();
    for (hash, missed_at) in lock(&node.forwarded).iter_mut() {
        if pending.contains(hash) {
            *missed_at = None;
        } else if missed_at.is_some_and(|height| our_height > height) {
            lost.push(hash.clone());
        } else if missed_at.is_none() {
            *missed_at = Some(head.height.0);
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        count = lost.len(),
        "the leader lost transactions that were forwarded to it"
    );
    lock(&node.forwarded).retain(|hash, _| !lost.contains(hash));
    blocking(node, move |node| node.chain().pool.remove(&lost)).await
}
