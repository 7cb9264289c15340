//! Whether the node answers again, and serves the right chain.
//!
//! A chain is known by its block 0. The node that is posted to is asked for it before the first
//! POST, whenever it was away, since another may have taken its place, and from time to time. While
//! it shows another chain's nothing is posted to it.

use std::time::Duration;

use actix::prelude::*;
use agentry_chain::{NodeClient, NodeError};
use agentry_protocol::{BlockHash, BlockHeight};

use super::Submitter;

/// The longest pause that a node may ask for with 429. One answer with a huge value must not stop
/// all posting: after this the node is probed, and posting goes on if it answers.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often a node that answers is asked which chain it serves: for so long at most something is
/// posted to one that took its place unnoticed. It is one small request.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// What a probe has found.
enum Found {
    /// A node of our chain.
    Ours,
    /// A node of another chain, with this block 0.
    Other(BlockHash),
    /// Nothing that answers as it should, or no block yet.
    Nothing,
}

impl Submitter {
    /// The node answered a POST. While the breaker is open, that was one from before: what closes
    /// it is a probe, which has seen which chain the node serves.
    pub(super) fn node_answered(&mut self) {
        if !self.breaker.is_open() {
            self.breaker.succeeded();
        }
    }

    fn is_back(&mut self) {
        if self.breaker.succeeded() {
            tracing::info!(
                node.url = self.settings.node.url(),
                "the node answers again"
            );
            self.shared.metrics.breaker(false);
        }
    }

    /// Asks the node for its chain after a pause; posting goes on when it answers.
    pub(super) fn probe_later(
        &mut self,
        opened: bool,
        retry_after: Option<Duration>,
        ctx: &mut Context<Self>,
    ) {
        if !opened {
            return;
        }
        tracing::warn!(
            node.url = self.settings.node.url(),
            "the node does not answer as it should; posting waits for it"
        );
        self.shared.metrics.breaker(true);
        let pause = retry_after.map(|pause| pause.min(MAX_RETRY_AFTER));
        self.probe(pause, ctx);
    }

    fn probe(&mut self, pause: Option<Duration>, ctx: &mut Context<Self>) {
        let pause = pause.unwrap_or_else(|| self.breaker.next_pause());
        let (node, limit) = (self.settings.node.clone(), self.interval.post_limit());
        let genesis = self.settings.genesis;
        let ask = async move {
            tokio::time::sleep(pause).await;
            let chain = tokio::time::timeout(limit, block_0(&node)).await;
            match chain {
                Ok(Ok(Some(found))) if found == genesis => Found::Ours,
                Ok(Ok(Some(found))) => Found::Other(found),
                Ok(Ok(None) | Err(_)) | Err(_) => Found::Nothing,
            }
        };
        ctx.spawn(ask.into_actor(self).map(|found, submitter, ctx| {
            match found {
                Found::Ours => {
                    submitter.other_chain = None;
                    submitter.is_back();
                    submitter.pump(ctx);
                    submitter.start_refill(ctx);
                    submitter.start_round(ctx);
                    return;
                }
                Found::Other(found) => submitter.is_of_other_chain(found),
                Found::Nothing => {}
            }
            submitter.probe(None, ctx);
        }));
    }

    /// Says so once.
    fn is_of_other_chain(&mut self, found: BlockHash) {
        if self.other_chain.replace(found) != Some(found) {
            tracing::error!(
                node.url = self.settings.node.url(),
                node.genesis = %found,
                chain.genesis = %self.settings.genesis,
                "the node that is posted to serves another chain; nothing is posted to it (correct [chain] submit in agents.toml)"
            );
        }
    }

    /// Asks the node from time to time which chain it serves. One that could not be asked at the
    /// start is probed from now on.
    pub(super) fn watch_the_node(&mut self, ctx: &mut Context<Self>) {
        if self.breaker.is_open() {
            self.probe(Some(Duration::ZERO), ctx);
        }
        ctx.run_interval(CHECK_EVERY, |submitter, ctx| {
            if submitter.breaker.is_open() {
                return;
            }
            let (node, limit) = (
                submitter.settings.node.clone(),
                submitter.interval.post_limit(),
            );
            let ask = async move { tokio::time::timeout(limit, block_0(&node)).await };
            ctx.spawn(ask.into_actor(submitter).map(|answer, submitter, ctx| {
                submitter.checked(&answer.unwrap_or(Ok(None)), ctx);
            }));
        });
    }

    fn checked(&mut self, answer: &Result<Option<BlockHash>, NodeError>, ctx: &mut Context<Self>) {
        match answer {
            Ok(Some(found)) if *found == self.settings.genesis => {}
            Ok(Some(found)) => {
                self.is_of_other_chain(*found);
                if self.breaker.trip() {
                    self.shared.metrics.breaker(true);
                    self.probe(None, ctx);
                }
            }
            // It is away. What takes its place is asked before anything is posted to it.
            Err(NodeError::Connect { .. }) => {
                let opened = self.breaker.trip();
                self.probe_later(opened, None, ctx);
            }
            Ok(None) | Err(_) => {
                let opened = self.breaker.failed();
                self.probe_later(opened, None, ctx);
            }
        }
    }
}

async fn block_0(node: &NodeClient) -> Result<Option<BlockHash>, NodeError> {
    node.block_hash(BlockHeight(0)).await
}
