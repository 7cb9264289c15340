//! [`HeadPoll`]: polling the head of a node to wait for a block.

use std::time::Duration;

use agentry_protocol::BlockHash;
use tokio::time::Instant;

use crate::node::{Head, NodeClient, NodeError, Pace};

/// The shortest time between two polls of the head.
const SHORTEST: Duration = Duration::from_millis(50);

/// Waits for blocks of one node: polls a few times for each block, most often when one is due, and
/// less often when answers take long.
#[derive(Debug)]
pub struct HeadPoll {
    node: NodeClient,
    pace: Pace,
    took: Duration,
    read: Option<BlockHash>,
}

impl HeadPoll {
    /// A poll that has sent no request yet.
    #[must_use]
    pub fn new(node: NodeClient) -> Self {
        Self {
            pace: Pace::new(node.tempo(), SHORTEST),
            node,
            took: Duration::ZERO,
            read: None,
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &NodeClient {
        &self.node
    }

    /// The head, if its block should be read now: it has not been read yet, or the node has time to
    /// spare to read it again, in case transactions were added since.
    ///
    /// # Errors
    /// A failed call or an unreadable answer.
    pub async fn head(&mut self) -> Result<Option<Head>, NodeError> {
        let began = Instant::now();
        let head = self.node.head().await;
        let now = Instant::now();
        self.took = now.duration_since(began);
        let Some(head) = head? else { return Ok(None) };
        self.pace.saw(Some(head.height), now);
        let is_new = self.read != Some(head.hash);
        Ok(Some(head).filter(|_| is_new || !self.node.spare_time().is_zero()))
    }

    /// Records that the block of this head was read.
    pub fn read(&mut self, head: &Head) {
        self.read = Some(head.hash);
    }

    /// Waits until the head should be polled again.
    pub async fn wait(&self) {
        tokio::time::sleep(self.pace.wait(self.took, Instant::now())).await;
    }
}
