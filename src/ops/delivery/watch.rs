//! Finds out what has happened to a message: in the store of the runtime that sent it, or on the
//! chain.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use agentry_core::OutboxId;
use agentry_core::rows::{OutboxState, ReceiptState};
use agentry_protocol::authenticity::examine;
use agentry_protocol::sealing::{self, Binding};
use agentry_protocol::{
    Address, Authenticity, ChainId, DecryptionKey, KnownCommand, Payload, PublicKey,
    TransactionHash,
};
use agentry_store::list::talk::{self, Delivery, Reply};
use agentry_store::{Reader, StoreError, open_for_reading, read};

use super::super::content::MessageContent;
use super::super::sealed::Opener;
use super::super::search::{Follow, Found};
use super::{Carrier, DeliveryError, Facts, Heard, What};

/// How often the store is read.
const POLL: Duration = Duration::from_millis(50);

/// Where to look.
#[derive(Debug)]
pub enum Watch {
    /// In the store of the runtime that sends it.
    Store(Box<StoreWatch>),
    /// On the chain.
    Chain(Box<ChainWatch>),
}

impl Watch {
    /// What is known now; `None` if nothing has changed.
    pub async fn look(&mut self) -> Result<Option<Facts>, DeliveryError> {
        match self {
            Self::Store(watch) => watch.look().await,
            Self::Chain(watch) => watch.look().await,
        }
    }

    /// Waits until there may be news, up to this long.
    pub async fn wait(&self, limit: Duration) {
        match self {
            Self::Store(_) => tokio::time::sleep(POLL.min(limit)).await,
            // A timeout is not an error here: the caller checks the time limit.
            Self::Chain(watch) => drop(tokio::time::timeout(limit, watch.follow.wait()).await),
        }
    }
}

/// How long a message that the owner of a shard has stored may take to reach another host's copy.
const ARRIVES: Duration = Duration::from_secs(10);

/// Watches a store.
#[derive(Debug)]
pub struct StoreWatch {
    db: Reader,
    opener: Opener,
    outbox: OutboxId,
    /// Whether the message has no header, so that an answer may not name what it answers.
    plain: bool,
    /// State of the store at the last look.
    version: Option<i64>,
    /// Until when the message may be on its way to this machine's copy of the store.
    arrives: Option<Instant>,
    opened: HashMap<i64, Result<Payload, String>>,
}

impl StoreWatch {
    pub(crate) fn new(store: &Path, outbox: OutboxId, plain: bool) -> Result<Self, StoreError> {
        let db = open_for_reading(store)?;
        let arrives = read::is_copy(&db)?.then(|| Instant::now() + ARRIVES);
        Ok(Self {
            db,
            arrives,
            opener: Opener::new(store, "no runtime hosts its recipient"),
            outbox,
            plain,
            version: None,
            opened: HashMap::new(),
        })
    }

    async fn look(&mut self) -> Result<Option<Facts>, DeliveryError> {
        let version = talk::version(&self.db)?;
        if self.version == Some(version) {
            return Ok(None);
        }
        let (progress, replies) = self.read()?;
        self.version = Some(version);
        let Some(progress) = progress else {
            if self.arrives.is_some_and(|until| Instant::now() < until) {
                self.version = None;
                return Ok(None);
            }
            return Err(DeliveryError::Deleted(self.outbox));
        };
        self.arrives = None;
        let carriers = progress
            .carriers
            .into_iter()
            .map(|one| Carrier {
                hash: one.hash,
                accepted: one.accepted,
                height: one.height,
                failed: one.state == OutboxState::Failed.as_str(),
                reason: one.reason,
            })
            .collect();
        let mut heard = Vec::new();
        for reply in replies {
            let from = &reply.stored.from;
            let mut content = MessageContent::read(&reply.stored.message());
            let key = content.header.as_ref().and_then(|header| header.key);
            if !progress.to.is_of(from, key.as_ref()) {
                continue;
            }
            if content.sealed {
                self.open(reply.inbox, &mut content).await;
            }
            if let Some(what) = what(content, &reply, progress.delivery.as_ref()) {
                heard.push(Heard {
                    inbox: Some(reply.inbox),
                    hash: reply.hash,
                    height: reply.height,
                    authenticity: reply.authenticity,
                    what,
                });
            }
        }
        Ok(Some(Facts {
            from: Some(progress.from),
            carriers,
            heard,
            delivery: progress.delivery,
        }))
    }

    // All queries read the same snapshot.
    fn read(&self) -> Result<(Option<talk::Progress>, Vec<Reply>), StoreError> {
        let _moment = self.db.snapshot()?;
        let Some(progress) = talk::progress(&self.db, self.outbox)? else {
            return Ok((None, Vec::new()));
        };
        let hashes: Vec<TransactionHash> = progress
            .carriers
            .iter()
            .filter_map(|carrier| carrier.hash)
            .collect();
        let mut replies = talk::replies(&self.db, progress.agent, &hashes)?;
        // A message counts as an answer only if its sender is verified.
        replies.retain(|reply| reply.authenticity == Authenticity::Verified.as_str());
        let mined = progress.carriers.iter().find_map(|one| one.height);
        if let Some(height) = mined.filter(|_| self.plain) {
            replies.extend(talk::remarks(
                &self.db,
                progress.agent,
                &progress.to,
                height,
            )?);
        }
        replies.sort_by_key(|reply| reply.inbox);
        Ok((Some(progress), replies))
    }

    async fn open(&mut self, inbox: i64, content: &mut MessageContent) {
        if !self.opened.contains_key(&inbox) {
            self.opener.again();
            let opened = self.opener.open(inbox).await;
            self.opened.insert(inbox, opened);
        }
        if let Some(opened) = self.opened.get(&inbox) {
            content.open(opened.as_ref().map_err(String::as_str));
        }
    }
}

/// Classifies a reply. An acknowledgment counts once the runtime has counted it.
fn what(content: MessageContent, reply: &Reply, delivery: Option<&Delivery>) -> Option<What> {
    match known(&reply.stored.message()) {
        Some(KnownCommand::Ack(ack)) => {
            let state = delivery?.state;
            let told = ReceiptState::from(ack.status);
            let counted = told == state || (told.rank() < state.rank() && !ack.status.is_last());
            let detail = ack.detail.map(|detail| detail.as_str().to_owned());
            counted.then_some(What::Ack(ack.status, detail))
        }
        _ => Some(progress_or_answer(content)),
    }
}

fn progress_or_answer(content: MessageContent) -> What {
    if content.cmd.as_deref() == Some("JOB_PROGRESS") {
        What::Progress(content)
    } else {
        What::Answer(content)
    }
}

fn known(payload: &agentry_protocol::Json) -> Option<KnownCommand> {
    Payload::read(payload).command().ok().flatten()
}

/// Watches the chain, for a wallet that no runtime hosts.
pub struct ChainWatch {
    pub(in crate::ops) follow: Follow,
    pub(in crate::ops) chain: ChainId,
    /// Hash of the message's transaction.
    pub(in crate::ops) hash: TransactionHash,
    /// Whether the message has no header.
    pub(in crate::ops) plain: bool,
    /// The sender.
    pub(in crate::ops) from: Address,
    /// The recipient.
    pub(in crate::ops) to: Address,
    /// The recipient's key, if it is known.
    pub(in crate::ops) key: Option<PublicKey>,
    /// Opens sealed replies.
    pub(in crate::ops) decryption: DecryptionKey,
    /// Whether the first facts have been returned.
    pub(in crate::ops) was_told: bool,
    /// What was found so far.
    pub(in crate::ops) facts: Facts,
}

impl std::fmt::Debug for ChainWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainWatch")
            .field("hash", &self.hash)
            .field("follow", &self.follow)
            .finish_non_exhaustive()
    }
}

impl ChainWatch {
    async fn look(&mut self) -> Result<Option<Facts>, DeliveryError> {
        let (hash, own) = (self.hash, self.from.clone());
        let wanted = |found: &Found| {
            found.hash == hash || (found.stored.to == own && found.stored.from != own)
        };
        let found = self.follow.look(wanted).await?;
        if found.is_empty() && std::mem::replace(&mut self.was_told, true) {
            return Ok(None);
        }
        for one in found {
            self.take(&one);
        }
        Ok(Some(self.facts.clone()))
    }

    fn take(&mut self, found: &Found) {
        let Some(carrier) = self.facts.carriers.first_mut() else {
            return;
        };
        if found.hash == self.hash {
            carrier.height = Some(found.height.0);
            return;
        }
        // An answer comes after its question.
        if carrier.height.is_none() || self.facts.heard.iter().any(|one| one.hash == found.hash) {
            return;
        }
        let mut content = MessageContent::read(&found.stored.message());
        let header_key = content.header.as_ref().and_then(|header| header.key);
        let from_recipient = self.to.is_of(&found.stored.from, header_key.as_ref());
        let finding = examine(
            &found.stored,
            &self.chain,
            header_key.as_ref(),
            self.key.as_ref(),
        );
        let authenticity = finding.authenticity();
        let answers = match content.header.as_ref().and_then(|header| header.re) {
            Some(re) => re == self.hash && authenticity == Authenticity::Verified,
            None => self.plain && authenticity != Authenticity::Forged,
        };
        if !from_recipient || !answers {
            return;
        }
        if content.sealed {
            match known(&found.stored.message()) {
                Some(KnownCommand::Sealed(sealed)) => {
                    let binding = Binding::from(&found.stored);
                    let opened = sealing::open(&sealed, &self.decryption, binding, authenticity)
                        .map_err(|error| error.to_string());
                    content.open(opened.as_ref().map_err(String::as_str));
                }
                _ => content.open(Err("it is not a sealed message")),
            }
        }
        self.facts.heard.push(Heard {
            inbox: None,
            hash: found.hash,
            height: Some(found.height.0),
            authenticity: authenticity.as_str().to_owned(),
            what: progress_or_answer(content),
        });
    }
}
