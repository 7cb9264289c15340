//! Sending a message, and waiting for its effects.

use std::path::Path;
use std::time::{Duration, Instant};

use agentry_protocol::timestamp::millis;
use agentry_protocol::{
    AckRequest, Address, BlockHeight, Json, KnownCommand, Payload, TransactionHash,
};
use agentry_store::list::talk::{self, Reply};
use agentry_store::{Reader, StoreError, open_for_reading, read};

use super::evidence::MessageEvidence;
use super::scene::Scene;
use super::{DemoError, Step};
use crate::ops::search::{self, Found};
use crate::ops::send::{Ack, SendRequest};
use crate::runtime::control::Client;

/// Polling interval.
const POLL: Duration = Duration::from_millis(20);

/// How many of the second node's newest blocks are checked for their transactions.
const RECENT: u64 = 50;

/// Time limit of one request to a node.
const LOOK: Duration = Duration::from_secs(2);

/// The pause after reading a block, as a multiple of the time that the read took.
const RESTS: u32 = 10;

/// How long a follower may show a block without its transactions.
const FILLS_WITHIN: Duration = Duration::from_secs(5);

/// How long to wait for an acknowledgment before a message is resent: longer than a node that loses
/// a transaction needs.
const ACK_WITHIN: Duration = Duration::from_secs(10);

/// How often a message is resent.
const RESENDS: u32 = 5;

/// A conversation in progress.
pub(super) struct Talk<'a, T> {
    pub(super) scene: &'a Scene,
    began: Instant,
    limit: Duration,
    tell: T,
    said: Vec<MessageEvidence>,
    asked: u32,
}

/// A message that was sent.
pub(super) struct DemoMessage {
    /// Its transaction in a block.
    pub(super) found: Found,
    /// When it was requested.
    pub(super) asked: Instant,
}

impl<'a, T: FnMut(Step)> Talk<'a, T> {
    pub(super) fn new(scene: &'a Scene, began: Instant, limit: Duration, tell: T) -> Self {
        Self {
            scene,
            began,
            limit,
            tell,
            said: Vec::new(),
            asked: 0,
        }
    }

    /// The messages so far, with their positions on the chain.
    pub(super) fn into_said(self) -> Vec<MessageEvidence> {
        self.said
    }

    fn deadline(&self) -> Instant {
        self.began + self.limit
    }

    pub(super) fn missing(&self, what: impl Into<String>) -> DemoError {
        DemoError::Missing {
            what: what.into(),
            limit: self.limit,
        }
    }

    /// Reports a completed step.
    pub(super) fn step(&mut self, what: &str, details: Vec<(&'static str, String)>) {
        (self.tell)(Step {
            what: what.to_owned(),
            details,
            after: self.began.elapsed(),
        });
    }

    /// Reports a transaction that is in a block, and keeps it as evidence.
    pub(super) fn mined(&mut self, what: &str, found: &Found, more: Vec<(&'static str, String)>) {
        let mut details = vec![
            ("transaction", found.hash.to_string()),
            ("height", found.height.to_string()),
            ("block", found.block_hash.to_string()),
        ];
        details.extend(more);
        self.said.push(MessageEvidence {
            what: what.to_owned(),
            standing: found.into(),
            after_ms: millis(self.began.elapsed()),
        });
        self.step(what, details);
    }

    /// The height of the node that produces blocks.
    pub(super) async fn height(&self) -> Result<BlockHeight, DemoError> {
        Ok(self.scene.height(self.deadline()).await?)
    }

    /// Waits for a transaction in a block at or above a height.
    pub(super) async fn find(
        &self,
        what: &str,
        node: usize,
        from: BlockHeight,
        wanted: impl Fn(&Found) -> bool,
    ) -> Result<Found, DemoError> {
        search::wait(&self.scene.nodes[node], from, self.deadline(), wanted)
            .await?
            .ok_or_else(|| self.missing(format!("{what} on {}", self.scene.nodes[node].url())))
    }

    /// Whether the second node shows the transactions of its newest blocks. If it does not, that is
    /// visible at once, provided that there were any.
    pub(super) async fn second_shows_transactions(&self) -> Result<(), DemoError> {
        let node = &self.scene.nodes[1];
        let Ok(Some(head)) = node.head().await else {
            return Ok(());
        };
        let low = head.height.saturating_sub(RECENT - 1);
        let Ok(blocks) = node.blocks_range(low, head.height).await else {
            return Ok(());
        };
        // The newest block may still receive its transactions.
        let bare = blocks
            .iter()
            .filter(|block| block.height < head.height)
            .find(|block| {
                block.tx_count > 0 && block.transactions.as_ref().is_none_or(Vec::is_empty)
            });
        match bare {
            Some(block) => Err(self.bare(block.height)),
            None => Ok(()),
        }
    }

    /// Waits until the second node shows a transaction of the first node. For a moment it may have
    /// the block without its transactions.
    pub(super) async fn reaches_second(&self, found: &Found) -> Result<(), DemoError> {
        let node = &self.scene.nodes[1];
        let mut since: Option<Instant> = None;
        loop {
            let asked = Instant::now();
            let block = tokio::time::timeout(LOOK, node.block(found.height)).await;
            let took = asked.elapsed();
            if let Ok(Ok(Some(block))) = block {
                let shown = block.transactions.iter().flatten();
                if shown
                    .into_iter()
                    .any(|transaction| transaction.hash == Some(found.hash))
                {
                    return Ok(());
                }
                if since.get_or_insert_with(Instant::now).elapsed() > FILLS_WITHIN {
                    return Err(self.bare(found.height));
                }
            }
            if Instant::now() >= self.deadline() {
                return Err(match since {
                    Some(_) => self.bare(found.height),
                    None => self.missing(format!("block {} on {}", found.height, node.url())),
                });
            }
            // The node also serves others.
            tokio::time::sleep(POLL.max(took * RESTS)).await;
        }
    }

    fn bare(&self, height: BlockHeight) -> DemoError {
        DemoError::Bare {
            node: self.scene.nodes[1].url().to_owned(),
            height: height.0,
        }
    }

    /// Waits for the ponger's answer to a transaction, as selected by `is_answer`.
    pub(super) async fn answer(
        &self,
        what: &str,
        to: &Found,
        wanted: impl Fn(&Payload) -> bool,
    ) -> Result<Found, DemoError> {
        let ponger = &self.scene.ponger;
        self.find(what, 0, to.height, |found| {
            let envelope = found.stored.envelope();
            found.stored.from == *ponger
                && envelope.header().and_then(|header| header.re) == Some(to.hash)
                && wanted(&envelope.payload)
        })
        .await
    }

    /// Sends a message from the pinger to an address of the directory, asks for an acknowledgment,
    /// and waits until the message is in a block.
    pub(super) async fn say(
        &mut self,
        what: &str,
        to: &Address,
        payload: &Payload,
        seal: bool,
    ) -> Result<DemoMessage, DemoError> {
        self.asked += 1;
        let payload = match payload {
            Payload::Text(text) => Json::string(text.as_str()),
            Payload::Command(command) => command.body.clone(),
            Payload::Opaque(json) => json.clone(),
        };
        let from = self.height().await?;
        let key = format!("demo/{}/{}", std::process::id(), self.asked);
        let request = SendRequest {
            ack: Some(Ack {
                request: AckRequest::Done,
                within: ACK_WITHIN,
                resends: RESENDS,
            }),
            seal,
            ..SendRequest::new(to.clone(), payload, key)
        };
        let asked = Instant::now();
        let row = self.client(0).send("pinger", request).await?.outbox;
        let hash = self.signed(what, row.0).await?;
        let found = self.find(what, 0, from, |found| found.hash == hash).await?;
        Ok(DemoMessage { found, asked })
    }

    /// The hash of a row of the pinger's outbox, once it is signed.
    async fn signed(&self, what: &str, row: i64) -> Result<TransactionHash, DemoError> {
        self.read(what, 0, move |db| {
            let sent = talk::sent_at(db, row)?;
            Ok(sent.and_then(|told| told.hash?.parse().ok()))
        })
        .await
    }

    /// Waits for a transaction among the answers to another one in the pinger's inbox.
    pub(super) async fn arrives(
        &self,
        what: &str,
        answer: &Found,
        to: &Found,
        is_ready: impl Fn(&Reply) -> bool,
    ) -> Result<Reply, DemoError> {
        self.read(what, 0, |db| {
            let agents = read::agents(db)?;
            let Some(pinger) = agents
                .iter()
                .find(|agent| agent.address == self.scene.pinger)
            else {
                return Ok(None);
            };
            let replies = talk::replies(db, pinger.id, &[to.hash])?;
            Ok(replies
                .into_iter()
                .find(|reply| reply.hash == answer.hash && is_ready(reply)))
        })
        .await
    }

    /// A client of a runtime: 0 is the pinger's, 1 the ponger's.
    pub(super) fn client(&self, who: usize) -> Client {
        Client::new(&self.scene.stores[who])
    }

    /// Waits until a query of a runtime's store returns a result.
    pub(super) async fn read<V>(
        &self,
        what: &str,
        who: usize,
        query: impl Fn(&Reader) -> Result<Option<V>, StoreError>,
    ) -> Result<V, DemoError> {
        let store: &Path = &self.scene.stores[who];
        loop {
            let db = open_for_reading(store)?;
            if let Some(found) = query(&db)? {
                return Ok(found);
            }
            if Instant::now() >= self.deadline() {
                return Err(self.missing(what));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Parses a payload as a command that agentry knows.
pub(super) fn command(payload: &Payload) -> Option<KnownCommand> {
    payload.command().ok().flatten()
}
