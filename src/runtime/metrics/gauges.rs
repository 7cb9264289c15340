//! What is the case in one shard now. The values of a process are those of its shards together.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agentry_core::rows::Spent;
use agentry_protocol::Amount;
use agentry_sdk::Standing;
use agentry_store::Condition as StoreCondition;

use super::Condition;

/// The standings of senders whose spending is shown.
pub(super) const STANDINGS: [Standing; 3] =
    [Standing::Unverified, Standing::Stranger, Standing::Listed];

/// The values of one shard.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) spent: AtomicI64,
    pub(super) spent_by: [AtomicI64; STANDINGS.len()],
    pub(super) out_of_budget: AtomicI64,
    pub(super) directory: AtomicI64,
    pub(super) awake: AtomicI64,
    pub(super) open: AtomicI64,
    pub(super) overdue: AtomicI64,
    /// The height of the last block that was read, and 1 more; 0 before the first.
    pub(super) read: AtomicI64,
    pub(super) clock_ahead: AtomicI64,
    pub(super) directory_left: AtomicI64,
    pub(super) behind: AtomicU64,
    /// The node is behind for longer than is tolerable.
    pub(super) is_behind: AtomicBool,
    pub(super) source_down: AtomicBool,
    pub(super) read_once: AtomicBool,
    pub(super) breaker_open: AtomicBool,
    pub(super) is_halted: AtomicBool,
    pub(super) catching_up: AtomicBool,
    pub(super) mempool_unreadable: AtomicBool,
    pub(super) store: Mutex<StoreCondition>,
    /// How often the watcher of the chain has moved on; 0 if none is running.
    pub(super) turns: AtomicU64,
}

/// The progress of the watcher of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The shard, among those of the process.
    pub shard: usize,
    /// How often the watcher has moved on; 0 if none is running.
    pub turns: u64,
    /// Whether it may be waiting for something outside of the process: a node, a disk, a database.
    pub waits: bool,
}

impl Pulse {
    /// Whether nothing shows that the watcher has hung since an earlier pulse.
    pub const fn beats_since(&self, before: &Self) -> bool {
        self.waits || self.turns == 0 || self.turns != before.turns
    }
}

/// A number that was counted in memory.
pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Gauges {
    pub(super) fn set_spent(&self, spent: &Spent) {
        let ait = |spent: Amount| i64::try_from(spent.0).unwrap_or(i64::MAX);
        self.spent.store(ait(spent.all), Ordering::Relaxed);
        for (standing, sum) in STANDINGS.into_iter().zip(&self.spent_by) {
            sum.store(ait(spent.of(standing)), Ordering::Relaxed);
        }
    }

    /// The reason why the store does not work, if it does not.
    fn trouble(&self) -> Option<String> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.reason().map(str::to_owned)
    }

    pub(super) fn pulse(self: &Arc<Self>) -> Pulse {
        Pulse {
            shard: Arc::as_ptr(self).addr(),
            turns: self.turns.load(Ordering::Relaxed),
            waits: self.source_down.load(Ordering::Relaxed) || self.trouble().is_some(),
        }
    }

    pub(super) fn condition(&self) -> Condition {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let read = self.read.load(Ordering::Relaxed);
        let source_up = !is(&self.source_down) && is(&self.read_once);
        let node_up = !is(&self.breaker_open);
        let posting = !is(&self.is_halted);
        let acting = !is(&self.catching_up);
        let caught_up = !is(&self.is_behind);
        let reason = self.trouble();
        let store_up = reason.is_none();
        Condition {
            ready: source_up && node_up && posting && acting && caught_up && store_up,
            source_up,
            node_up,
            posting,
            acting,
            caught_up,
            behind: self.behind.load(Ordering::Relaxed),
            store_up,
            reason,
            height: (read > 0).then(|| read - 1),
        }
    }
}

/// The shards of a process. One that has ended is no longer among them.
#[derive(Debug, Default)]
pub(super) struct Shards(Mutex<Vec<Weak<Gauges>>>);

impl Shards {
    /// A further shard.
    pub(super) fn add(&self) -> Arc<Gauges> {
        let gauges = Arc::default();
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.retain(|shard| shard.strong_count() > 0);
        shards.push(Arc::downgrade(&gauges));
        gauges
    }

    pub(super) fn all(&self) -> Vec<Arc<Gauges>> {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The values of shards together.
#[derive(Debug)]
pub(super) struct Together(Vec<Arc<Gauges>>);

impl Together {
    pub(super) const fn of(shards: Vec<Arc<Gauges>>) -> Self {
        Self(shards)
    }

    fn values(&self, of: impl Fn(&Gauges) -> &AtomicI64) -> impl Iterator<Item = i64> {
        self.0
            .iter()
            .map(move |shard| of(shard).load(Ordering::Relaxed))
    }

    pub(super) fn sum(&self, of: impl Fn(&Gauges) -> &AtomicI64) -> i64 {
        self.values(of).fold(0, i64::saturating_add)
    }

    pub(super) fn most(&self, of: impl Fn(&Gauges) -> &AtomicI64) -> i64 {
        self.values(of).max().unwrap_or(0)
    }

    pub(super) fn least(&self, of: impl Fn(&Gauges) -> &AtomicI64) -> i64 {
        self.values(of).min().unwrap_or(0)
    }

    /// 1 if it is the case in any shard.
    pub(super) fn any(&self, of: impl Fn(&Gauges) -> &AtomicBool) -> i64 {
        i64::from(self.0.iter().any(|shard| of(shard).load(Ordering::Relaxed)))
    }

    /// The state of all shards: what holds for each of them. A host that is not `joined` cannot store
    /// changes; one without a shard is ready to take one over.
    pub(super) fn condition(&self, joined: bool) -> Condition {
        let mut all = Condition {
            ready: joined,
            source_up: true,
            node_up: true,
            posting: true,
            acting: true,
            caught_up: true,
            behind: 0,
            store_up: joined,
            reason: (!joined).then(|| "the cluster's database does not answer".to_owned()),
            height: None,
        };
        for one in self.0.iter().map(|shard| shard.condition()) {
            all.ready &= one.ready;
            all.source_up &= one.source_up;
            all.node_up &= one.node_up;
            all.posting &= one.posting;
            all.acting &= one.acting;
            all.caught_up &= one.caught_up;
            all.behind = all.behind.max(one.behind);
            all.store_up &= one.store_up;
            all.reason = all.reason.or(one.reason);
            all.height = match (all.height, one.height) {
                (Some(all), Some(one)) => Some(all.min(one)),
                (all, one) => all.or(one),
            };
        }
        all
    }

    /// The most blocks by which a node is behind.
    pub(super) fn behind(&self) -> i64 {
        let behind = self
            .0
            .iter()
            .map(|shard| shard.behind.load(Ordering::Relaxed));
        i64::try_from(behind.max().unwrap_or(0)).unwrap_or(i64::MAX)
    }

    /// 1 if every store works.
    pub(super) fn stores_up(&self) -> i64 {
        i64::from(self.0.iter().all(|shard| shard.trouble().is_none()))
    }
}
