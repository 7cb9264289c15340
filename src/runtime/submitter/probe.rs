//! Probing whether the node answers again, and serves the right chain.
//!
//! A chain is identified by its block 0. The posting node is asked for it before the first POST,
//! after every outage, since another node may have taken its place, and from time to time. While it
//! shows another chain's block 0, nothing is posted to it.

use std::time::Duration;

use actix::prelude::*;
use agentry_chain::{NodeClient, NodeError};
use agentry_protocol::{BlockHash, BlockHeight};

use super::Submitter;

/// The longest pause that a node may request with 429. One answer with a huge value must not stop
/// all posting: after this pause the node is probed, and posting continues if it answers.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often an answering node is asked which chain it serves: the longest time for which
/// transactions may be posted to a node that took its place unnoticed. It is one small request.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The result of a probe.
enum Found {
    /// A node of our chain.
    Ours,
    /// A node of another chain, with this block 0.
    Other(BlockHash),
    /// No valid answer, or no block yet.
    Nothing,
}

impl Submitter {
    /// The node answered a POST. While the breaker is open, that POST was sent before it opened.
    /// Only a probe closes the breaker, since a probe has seen which chain the node serves.
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

    /// Asks the node for its chain after a pause; posting continues when it answers.
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
            "the node gives no valid answer; posting waits for it"
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
                    submitter.start_signing(ctx);
                    submitter.start_round(ctx);
                    return;
                }
                Found::Other(found) => submitter.is_of_other_chain(found),
                Found::Nothing => {}
            }
            submitter.probe(None, ctx);
        }));
    }

    /// Logs once that the node serves another chain.
    fn is_of_other_chain(&mut self, found: BlockHash) {
        if self.other_chain.replace(found) != Some(found) {
            tracing::error!(
                node.url = self.settings.node.url(),
                node.genesis = %found,
                chain.genesis = %self.settings.genesis,
                "the node that transactions are posted to serves another chain; nothing is posted to it (correct [chain] submit in agents.toml)"
            );
        }
    }

    /// Asks the node from time to time which chain it serves. A node that could not be asked at
    /// startup is probed from now on.
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
            // The node is down. A node that takes its place is asked before anything is posted to
            // it.
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
