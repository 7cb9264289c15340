//! What a transaction on the chain means for the hosted wallets: a message, with its sender
//! verified or not, or a transaction of their own.
//!
//! Signatures are verified on threads for blocking work, many at a time, each by strict
//! verification: batch verification accepts what strict verification refuses.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actix::Recipient;
use agentry_chain::{ChainEvent, ChainTransaction};
use agentry_core::commit::{Arrival, Now, OwnTransaction, Step};
use agentry_core::{AgentId, InboxId, State};
use agentry_protocol::authenticity::{Finding, examine};
use agentry_protocol::{
    Address, Authenticity, ChainId, MessageDigest, PublicKey, SignedTransaction, StoredTransaction,
    TransactionHash, Verification,
};
use agentry_store::StoreError;

use super::directory::{self, Directory};
use super::metrics::Metrics;
use super::pending::SeenPending;
use super::registry::AgentRegistry;
use super::signer::PublicKeys;
use super::standing::Standings;
use super::{Shared, reading};

/// The number of signatures from which verification is shared among threads.
const PARALLEL_FROM: usize = 64;

/// Determines what each event means for the hosted wallets. Signatures are verified on threads for
/// blocking work, many at a time.
pub(super) async fn classify(
    shared: &Shared,
    registry: AgentRegistry,
    chain: ChainId,
    keys: &Recipient<PublicKeys>,
    events: Vec<ChainEvent>,
) -> Result<Vec<Step>, StoreError> {
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChainEvent::Transaction(seen) => Some((&seen.stored, seen.hash)),
            _ => None,
        })
        .collect();
    let bench = Arc::new(bench(shared, registry, chain, keys, &seen).await?);
    let parts = if events.len() >= PARALLEL_FROM {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    } else {
        1
    };
    let size = events.len().div_ceil(parts).max(1);
    let mut events = events.into_iter();
    let mut running = Vec::with_capacity(parts);
    loop {
        let part: Vec<ChainEvent> = events.by_ref().take(size).collect();
        if part.is_empty() {
            break;
        }
        let bench = Arc::clone(&bench);
        running.push(shared.workers.spawn_blocking(move || {
            part.into_iter()
                .flat_map(|event| bench.steps_of(event))
                .collect::<Vec<_>>()
        }));
    }
    let mut steps = Vec::new();
    for part in running {
        steps.extend(part.await.map_err(|_| StoreError::Closed)?);
    }
    for step in &steps {
        if let Step::Arrival(arrival) = step {
            let span = reading::span(arrival.digest, arrival.sender.as_str(), arrival.hash);
            span.in_scope(|| {
                tracing::debug!(
                    agent.row = %arrival.agent,
                    message.authenticity = arrival.authenticity.as_str(),
                    block.height = arrival.height.0,
                    "a message arrived"
                );
            });
            if arrival.authenticity == Authenticity::Forged {
                shared.metrics.forged();
            }
        }
    }
    Ok(steps)
}

/// Determines which hosted wallets sent these pending transactions.
pub(super) async fn classify_pending(
    shared: &Shared,
    registry: AgentRegistry,
    chain: ChainId,
    keys: &Recipient<PublicKeys>,
    transactions: Vec<StoredTransaction>,
) -> Result<Vec<Step>, StoreError> {
    let hashes: Vec<TransactionHash> = transactions.iter().map(StoredTransaction::hash).collect();
    let seen: Vec<_> = transactions.iter().zip(hashes.iter().copied()).collect();
    let bench = bench(shared, registry, chain, keys, &seen).await?;
    shared
        .workers
        .spawn_blocking(move || {
            let seen = transactions.iter().zip(hashes);
            seen.filter_map(|(stored, hash)| bench.of_pending(stored, hash))
                .collect()
        })
        .await
        .map_err(|_| StoreError::Closed)
}

/// The data needed to examine these transactions.
async fn bench(
    shared: &Shared,
    registry: AgentRegistry,
    chain: ChainId,
    keys: &Recipient<PublicKeys>,
    seen: &[(&StoredTransaction, TransactionHash)],
) -> Result<Bench, StoreError> {
    let known = known(shared, &registry, seen).await?;
    Ok(Bench {
        keys: own_keys(&registry, &known, keys, seen).await,
        known,
        standings: Standings {
            registry: registry.clone(),
            directory: shared.directory.clone(),
        },
        registry,
        directory: shared.directory.clone(),
        seen_pending: shared.seen_pending.clone(),
        metrics: Arc::clone(&shared.metrics),
        chain,
        now: now(shared),
    })
}

/// Hosted wallets' transactions that the outbox knows: they are certain without verifying their
/// signatures.
#[derive(Debug, Default)]
struct Known {
    hashes: HashSet<TransactionHash>,
    /// Where chains keep no signatures: what says the same as ours is ours, however its signature was
    /// spelled.
    digests: HashSet<MessageDigest>,
}

impl Known {
    fn has(&self, hash: TransactionHash) -> bool {
        self.hashes.contains(&hash)
    }

    /// Whether a transaction with another hash says what one of ours says, on such a chain.
    fn says(&self, stored: &StoredTransaction) -> bool {
        !self.digests.is_empty() && self.digests.contains(&stored.digest())
    }
}

/// What the outbox knows of these.
async fn known(
    shared: &Shared,
    registry: &AgentRegistry,
    seen: &[(&StoredTransaction, TransactionHash)],
) -> Result<Known, StoreError> {
    let own = seen
        .iter()
        .filter(|(stored, _)| registry.at(stored.from.as_str()).is_some());
    let (mut hashes, mut digests) = (Vec::new(), Vec::new());
    for (stored, hash) in own {
        hashes.push(*hash);
        if !stored.dialect.keeps_signatures() {
            digests.push(stored.digest());
        }
    }
    if hashes.is_empty() {
        return Ok(Known::default());
    }
    let ask = move |state: &State| Known {
        hashes: state.known_hashes(hashes),
        digests: state.known_digests(digests),
    };
    shared.store.query(ask).await
}

/// The keys of hosted wallets whose files do not state them, if one seems to have sent something
/// that the outbox does not know.
async fn own_keys(
    registry: &AgentRegistry,
    known: &Known,
    signer: &Recipient<PublicKeys>,
    seen: &[(&StoredTransaction, TransactionHash)],
) -> HashMap<AgentId, PublicKey> {
    let mut keys = HashMap::new();
    let mut asked = HashSet::new();
    for (stored, hash) in seen {
        let Some(hosted) = registry.at(stored.from.as_str()) else {
            continue;
        };
        let needs_key = stored.dialect.states_keys() && hosted.public_key.is_none();
        if !needs_key || known.has(*hash) || !asked.insert(hosted.id) {
            continue;
        }
        match PublicKeys::of(hosted.id, signer).await {
            Ok((key, _)) => {
                keys.insert(hosted.id, key);
            }
            Err(error) => {
                tracing::warn!(agent.name = hosted.config.name, %error, "the wallet's own transactions cannot be distinguished from forged ones");
            }
        }
    }
    keys
}

/// The data needed to examine transactions.
struct Bench {
    registry: AgentRegistry,
    /// Keys of hosted wallets that the agent registry does not have.
    keys: HashMap<AgentId, PublicKey>,
    directory: Directory,
    standings: Standings,
    seen_pending: SeenPending,
    metrics: Arc<Metrics>,
    chain: ChainId,
    known: Known,
    now: Now,
}

/// The earliest and the latest possible current time. A wrong clock must not cause a valid message
/// to be refused permanently.
fn now(shared: &Shared) -> Now {
    Now {
        earliest: shared.clock.confirmed(),
        latest: shared.clock.latest(),
    }
}

impl Bench {
    fn steps_of(&self, event: ChainEvent) -> Vec<Step> {
        match event {
            ChainEvent::Transaction(seen) => self.of_transaction(&seen),
            ChainEvent::Withdrawn { above, .. } => vec![Step::Withdrawn { above }],
            ChainEvent::Undecodable {
                height,
                count,
                first,
            } => {
                self.metrics.undecodable(count);
                let first = first.first();
                tracing::warn!(
                    block.height = height.0,
                    transactions = count,
                    first.hash = first.and_then(|row| row.hash).map(|hash| hash.to_string()),
                    first.reason = first.map(|row| row.reason.as_str()),
                    "some transactions of a block cannot be decoded; the others are read"
                );
                Vec::new()
            }
            ChainEvent::Gap { height, reason } => {
                tracing::warn!(
                    block.height = height.0,
                    reason,
                    "a block cannot be read completely"
                );
                vec![Step::Gap { height, reason }]
            }
            ChainEvent::GapFilled { height } => {
                tracing::info!(
                    block.height = height.0,
                    "a block that could not be read before can be read now"
                );
                vec![Step::GapFilled { height }]
            }
        }
    }

    /// The key for verifying a sender's signature, if one is known.
    fn key_of(&self, address: &Address) -> Option<PublicKey> {
        let unlocked = || {
            let hosted = self.registry.at(address.as_str())?;
            self.keys.get(&hosted.id).copied()
        };
        let known = self.registry.key_of(address).or_else(unlocked);
        known.or_else(|| self.directory.key_of(address))
    }

    fn of_transaction(&self, seen: &ChainTransaction) -> Vec<Step> {
        let stored = &seen.stored;
        let mut steps = Vec::new();
        if stored.from == stored.to {
            let (hash, height) = (seen.hash, seen.height);
            let now = self.now.latest;
            let card = directory::card_of(stored, hash, height, &self.chain, now);
            steps.extend(card.map(Step::Card));
        }
        let sender = self.registry.at(stored.from.as_str());
        // An agent never acts on its own messages.
        let recipient = self
            .registry
            .at(stored.to.as_str())
            .filter(|recipient| !recipient.is_self(&stored.from));
        if sender.is_none() && recipient.is_none() {
            return steps;
        }
        let is_known = self.known.has(seen.hash);
        // A signature is verified if anything depends on it, and only once.
        let finding = (recipient.is_some() || !is_known).then(|| self.examine(stored));
        let authenticity = finding.map(Finding::authenticity);
        if let Some(sender) = sender {
            // A transaction whose hash the outbox does not know may still be one of ours:
            // respelled, or pruned.
            let own = finding.filter(|_| !is_known);
            steps.push(Step::Sighting {
                agent: sender.id,
                hash: seen.hash,
                own: own.and_then(|finding| self.own(stored, finding)),
                height: seen.height,
                block_hash: Some(seen.block_hash),
            });
        }
        if let (Some(recipient), Some(authenticity)) = (recipient, authenticity) {
            let mut arrival = Arrival::new(
                recipient.id,
                seen.hash,
                stored,
                seen.height,
                authenticity,
                self.now,
            );
            arrival.standing = self.standings.of_sender(
                &recipient,
                (authenticity, &stored.from),
                None,
                self.now.latest,
            );
            steps.push(Step::Arrival(arrival));
        }
        steps
    }

    /// A pending transaction of a hosted wallet: one that it has signed.
    fn of_pending(&self, stored: &StoredTransaction, hash: TransactionHash) -> Option<Step> {
        let sender = self.registry.at(stored.from.as_str())?;
        let own = if self.known.has(hash) {
            None
        } else {
            Some(self.own(stored, self.examine(stored))?)
        };
        Some(Step::Pending {
            agent: sender.id,
            hash,
            own,
            latest: self.now.latest,
        })
    }

    /// A transaction that a hosted wallet has signed, as it was posted. A signature of the older
    /// client form, over seven keys, is not one of ours.
    fn own(&self, stored: &StoredTransaction, finding: Finding) -> Option<Box<OwnTransaction>> {
        let is_signed = finding == Finding::Signature(Verification::Valid);
        if !is_signed && !self.known.says(stored) {
            return None;
        }
        if !stored.dialect.states_keys() {
            let signed = SignedTransaction::from_stored(stored, None).ok()?;
            return Some(Box::new(OwnTransaction::from(&signed)));
        }
        let stated = header_key(stored);
        let known = self.key_of(&stored.from);
        let key = match stated {
            // The finding does not say which of the two it is.
            Some(stated) if known.is_some_and(|known| known != stated) => {
                let is_stated = stored.verify(&stated) == Verification::Valid;
                if is_stated { stated } else { known? }
            }
            stated => stated.or(known)?,
        };
        let signed = SignedTransaction::from_stored(stored, Some(key)).ok()?;
        Some(Box::new(OwnTransaction::from(&signed)))
    }

    fn examine(&self, stored: &StoredTransaction) -> Finding {
        let finding = examine_under(stored, &self.chain, self.key_of(&stored.from));
        self.seen_pending.complete(stored, finding)
    }
}

/// Verifies the sender of a transaction, given the key that is known beside the one that it states.
pub(crate) fn examine_under(
    stored: &StoredTransaction,
    chain: &ChainId,
    known_key: Option<PublicKey>,
) -> Finding {
    let header_key = header_key(stored);
    examine(stored, chain, header_key.as_ref(), known_key.as_ref())
}

/// The key that a message's header states.
fn header_key(stored: &StoredTransaction) -> Option<PublicKey> {
    stored.envelope().header()?.key
}

/// Verifies dead letters again: keys may have become known since.
pub(crate) async fn reverify(
    shared: &Shared,
    registry: &AgentRegistry,
    chain: &ChainId,
    dead: Vec<(InboxId, StoredTransaction)>,
) -> Result<Vec<(InboxId, Authenticity)>, StoreError> {
    let bench = Bench {
        registry: registry.clone(),
        directory: shared.directory.clone(),
        standings: Standings {
            registry: registry.clone(),
            directory: shared.directory.clone(),
        },
        seen_pending: shared.seen_pending.clone(),
        metrics: Arc::clone(&shared.metrics),
        chain: chain.clone(),
        keys: HashMap::new(),
        known: Known::default(),
        now: now(shared),
    };
    let classify = move || {
        dead.into_iter()
            .map(|(id, stored)| (id, bench.examine(&stored).authenticity()))
            .collect()
    };
    shared
        .workers
        .spawn_blocking(classify)
        .await
        .map_err(|_| StoreError::Closed)
}
