//! The shards that are on this host: those that run here, and those whose logs it follows. What serves
//! others finds them here. On one machine there is one shard, which runs.
//!
//! A shard that is asked for and is not here is followed for a while, although this host is not to take
//! it over.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix::Recipient;
use agentry_core::cluster::{ShardId, shard_of};
use agentry_protocol::Address;
use agentry_store::{Store, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::registry::AgentRegistry;
use super::signer::SignDocument;
use crate::config::Config;

/// How long a shard is followed after it was asked for last.
const KEPT: Duration = Duration::from_secs(600);

/// How long a shard that was asked for is waited for. Copying a large one may take longer.
const ARRIVAL: Duration = Duration::from_secs(20);

/// How long the tables of a shard that runs here are waited for, as those of one machine are. They lack
/// something for longer only while its log cannot be appended to.
const OWN: Duration = Duration::from_secs(2);

/// How long the tables of a shard are waited for until they have what its log has.
const LEVEL: Duration = Duration::from_secs(20);

/// A shard that runs on this host.
#[derive(Debug)]
pub struct Running {
    /// The configuration, as it was loaded last.
    pub config: watch::Receiver<Arc<Config>>,
    /// The agents.
    pub registry: AgentRegistry,
    /// Signs documents as hosted wallets.
    pub sign: Recipient<SignDocument>,
}

/// A shard that is on this host.
#[derive(Clone, Debug)]
pub struct Present {
    store: Store,
    number: u64,
    running: Option<Arc<Running>>,
}

impl Present {
    /// Its store: tokens, and the rows that change.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// A number that no other store has had here.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What there is of it if it runs here.
    pub fn running(&self) -> Option<&Running> {
        self.running.as_deref()
    }
}

/// The shards that are on this host. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shards: watch::Sender<BTreeMap<ShardId, Present>>,
    numbers: AtomicU64,
    /// In a cluster, how many shards there are, and who learns which of them are asked for.
    cluster: OnceLock<(NonZeroU16, mpsc::UnboundedSender<ShardId>)>,
    asked: Mutex<BTreeMap<ShardId, Instant>>,
}

impl Presence {
    /// This host is one of a cluster with so many shards. `asks` learns of each that is asked for and is
    /// not here.
    pub fn join(&self, shards: NonZeroU16, asks: mpsc::UnboundedSender<ShardId>) {
        // A process joins once.
        let _ = self.0.cluster.set((shards, asks));
    }

    /// How many shards there are.
    pub fn count(&self) -> NonZeroU16 {
        let cluster = self.0.cluster.get();
        cluster.map_or(NonZeroU16::MIN, |(count, _)| *count)
    }

    /// The shard of the agent at an address.
    pub fn shard_of(&self, address: &Address) -> ShardId {
        shard_of(address, self.count())
    }

    /// A shard's store was opened on this host. It is here until the returned guard is dropped.
    pub fn enter(&self, shard: ShardId, store: Store) -> Entered {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let present = Present {
            store: store.clone(),
            number,
            running: None,
        };
        self.0.shards.send_modify(|shards| {
            shards.insert(shard, present);
        });
        Entered {
            place: Place {
                presence: self.clone(),
                shard,
                number,
            },
            store,
        }
    }

    /// A shard that is here runs, until the returned guard is dropped.
    pub fn run(&self, shard: ShardId, running: Running) -> Runs {
        let running = Arc::new(running);
        let mut number = None;
        self.0.shards.send_modify(|shards| {
            if let Some(present) = shards.get_mut(&shard) {
                present.running = Some(running);
                number = Some(present.number);
            }
        });
        Runs(number.map(|number| Place {
            presence: self.clone(),
            shard,
            number,
        }))
    }

    /// The shards that are here now.
    pub fn all(&self) -> BTreeMap<ShardId, Present> {
        self.0.shards.borrow().clone()
    }

    /// A shard, if it is here.
    pub fn get(&self, shard: ShardId) -> Option<Present> {
        self.0.shards.borrow().get(&shard).cloned()
    }

    /// The first shard that is here, of those that run if one does.
    pub fn first(&self) -> Option<ShardId> {
        let shards = self.0.shards.borrow();
        let mut running = shards.iter().filter(|(_, one)| one.running.is_some());
        let first = running.next().or_else(|| shards.iter().next());
        first.map(|(shard, _)| *shard)
    }

    /// [The first](Self::first) shard that is here.
    pub fn any(&self) -> Option<Present> {
        self.get(self.first()?)
    }

    /// What `find` finds first of the shards that run here.
    pub fn find<T>(&self, find: impl FnMut(&Running) -> Option<T>) -> Option<T> {
        let shards = self.0.shards.borrow();
        shards.values().filter_map(Present::running).find_map(find)
    }

    /// The shards that are here, now and as they change.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<ShardId, Present>> {
        self.0.shards.subscribe()
    }

    /// Notes that somebody asks for a shard, so that it stays here for a while, or comes.
    pub fn ask(&self, shard: ShardId) {
        let Some((_, asks)) = self.0.cluster.get() else {
            return;
        };
        self.asked_at().insert(shard, Instant::now());
        if !self.0.shards.borrow().contains_key(&shard) {
            // If nobody listens, the process ends.
            let _ = asks.send(shard);
        }
    }

    /// The shards that were asked for in the last ten minutes.
    pub fn asked(&self) -> Vec<ShardId> {
        let mut asked = self.asked_at();
        asked.retain(|_, at| at.elapsed() < KEPT);
        asked.keys().copied().collect()
    }

    /// Waits until a shard is here.
    ///
    /// # Errors
    /// It does not come.
    pub async fn reach(&self, shard: ShardId) -> Result<Present, NotHere> {
        self.ask(shard);
        let mut shards = self.watch();
        let comes = async {
            let shards = shards.wait_for(|shards| shards.contains_key(&shard));
            shards.await.ok()?.get(&shard).cloned()
        };
        let came = tokio::time::timeout(ARRIVAL, comes).await;
        came.ok().flatten().ok_or(NotHere::Absent(shard))
    }

    /// Brings this host's tables of a shard up to what its log has now, so that whoever opens them finds
    /// everything that was acknowledged before, wherever the shard runs.
    ///
    /// # Errors
    /// They cannot be brought up to it.
    pub async fn refresh(&self, shard: ShardId) -> Result<(), NotHere> {
        let refreshed = async {
            loop {
                let present = self.reach(shard).await?;
                let store = &present.store;
                let caught_up = match present.running {
                    Some(_) => {
                        let written = tokio::time::timeout(OWN, store.read(|_| Ok(())));
                        written.await.unwrap_or(Ok(()))
                    }
                    None => store.catch_up().await,
                };
                match caught_up {
                    // It has just ended here, and comes back.
                    Err(StoreError::Closed | StoreError::Fenced) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    caught_up => return caught_up.map_err(|error| NotHere::Store(shard, error)),
                }
            }
        };
        let late = |_| NotHere::Late(shard);
        tokio::time::timeout(LEVEL, refreshed).await.map_err(late)?
    }

    fn asked_at(&self) -> MutexGuard<'_, BTreeMap<ShardId, Instant>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a shard cannot be read on this host.
#[derive(Debug, thiserror::Error)]
pub enum NotHere {
    /// It has not come.
    #[error("this host has no copy of shard {0}, and has not got one within {ARRIVAL:?}")]
    Absent(ShardId),
    /// Its tables are behind its log.
    #[error("the copy of shard {0} was not up to date after {LEVEL:?}")]
    Late(ShardId),
    /// Its log cannot be read, or its tables not be written.
    #[error("the copy of shard {0}: {1}")]
    Store(ShardId, StoreError),
}

/// The entry of a store.
#[derive(Debug)]
struct Place {
    presence: Presence,
    shard: ShardId,
    number: u64,
}

impl Place {
    /// Changes the shards, if the entry is still there.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<ShardId, Present>)) {
        self.presence.0.shards.send_if_modified(|shards| {
            let is_there = |present: &Present| present.number == self.number;
            let is_there = shards.get(&self.shard).is_some_and(is_there);
            if is_there {
                change(shards);
            }
            is_there
        });
    }
}

/// The store of a shard that is on this host. When this is dropped, it is not any more.
#[derive(Debug)]
pub struct Entered {
    place: Place,
    store: Store,
}

impl Deref for Entered {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let shard = self.place.shard;
        self.place.change(|shards| {
            shards.remove(&shard);
        });
    }
}

/// A shard that runs here. When this is dropped, it does not any more.
#[derive(Debug)]
pub struct Runs(Option<Place>);

impl Drop for Runs {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            place.change(|shards| {
                if let Some(present) = shards.get_mut(&place.shard) {
                    present.running = None;
                }
            });
        }
    }
}
