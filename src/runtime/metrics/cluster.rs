//! What a host shows of its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use agentry_cluster::{JobCount, WORKER_LOST, WorkerSeen};
use agentry_core::cluster::{Incarnation, View};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauges::signed;

/// What cannot be counted.
const UNKNOWN: i64 = -1;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfShard {
    shard: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOwner {
    shard: u16,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

/// The values of a host that is in a cluster.
#[derive(Debug, Default)]
pub(super) struct ClusterGauges {
    is_joined: AtomicBool,
    up: Gauge,
    hosts: Gauge,
    shards: Gauge,
    owned: Gauge,
    halted: Gauge,
    standbys: Gauge,
    workers: Family<OfKind, Gauge>,
    workers_lost: Gauge,
    jobs_waiting: Family<OfKind, Gauge>,
    owner: Family<OfOwner, Gauge>,
    epoch: Family<OfShard, Gauge>,
    records: Family<OfShard, Gauge>,
    followers: Family<OfShard, Gauge>,
    lag: Family<OfShard, Gauge>,
}

impl ClusterGauges {
    /// Shows the values in a registry.
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge(
            "cluster_up",
            "1 while the cluster's database answers this host",
            &self.up,
        );
        gauge(
            "cluster_hosts",
            "hosts that have a row in the cluster",
            &self.hosts,
        );
        gauge(
            "cluster_shards",
            "shards that the cluster has",
            &self.shards,
        );
        gauge("shards_owned", "shards that this host owns", &self.owned);
        gauge(
            "cluster_shards_halted",
            "shards that nobody runs until an operator decides",
            &self.halted,
        );
        self.standbys.set(UNKNOWN);
        gauge(
            "cluster_standbys",
            "synchronous standbys that are connected to the cluster's database; -1 if that is unknown",
            &self.standbys,
        );
        gauge(
            "cluster_workers_lost",
            "workers that have stopped to beat without having ended, for a day",
            &self.workers_lost,
        );
        let mut of_kind = |name: &str, help: &str, family: &Family<OfKind, Gauge>| {
            registry.register(name, help, family.clone());
        };
        of_kind(
            "cluster_workers",
            "workers that run tasks of the type",
            &self.workers,
        );
        of_kind(
            "cluster_jobs_waiting",
            "tasks of the type that no worker has taken",
            &self.jobs_waiting,
        );
        registry.register(
            "shard_owner",
            "1 for the host that owns the shard",
            self.owner.clone(),
        );
        let mut family = |name: &str, help: &str, family: &Family<OfShard, Gauge>| {
            registry.register(name, help, family.clone());
        };
        family(
            "shard_epoch",
            "how often the shard was claimed",
            &self.epoch,
        );
        family(
            "shard_records",
            "place of the last record of the shard's log",
            &self.records,
        );
        family(
            "shard_followers",
            "hosts that follow the shard, ready to take it over",
            &self.followers,
        );
        family(
            "shard_lag_records",
            "records of the shard's log that this host, which follows it, does not have yet",
            &self.lag,
        );
    }

    /// Whether the database answered the last beat.
    pub(super) fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::Relaxed)
    }

    /// The database did not answer a beat.
    pub(super) fn lost(&self) {
        self.is_joined.store(false, Ordering::Relaxed);
        self.up.set(0);
    }

    /// So many synchronous standbys are connected, if that is known.
    pub(super) fn standbys(&self, count: Option<u32>) {
        self.standbys.set(count.map_or(UNKNOWN, i64::from));
    }

    /// These are the workers, and the jobs of types of which hosts run none.
    pub(super) fn workers(
        &self,
        kinds: &[String],
        workers: &[WorkerSeen],
        jobs: &BTreeMap<String, JobCount>,
    ) {
        let is_lost = |worker: &&WorkerSeen| worker.silent >= WORKER_LOST;
        self.workers_lost
            .set(signed(workers.iter().filter(is_lost).count()));
        self.workers.clear();
        self.jobs_waiting.clear();
        let alive = || workers.iter().filter(|worker| !is_lost(worker));
        let of_workers = alive().flat_map(|worker| worker.row.kinds.keys());
        let all: BTreeSet<&String> = kinds.iter().chain(of_workers).chain(jobs.keys()).collect();
        for kind in all {
            let label = OfKind { kind: kind.clone() };
            let count = alive().filter(|worker| worker.row.kinds.contains_key(kind));
            self.workers
                .get_or_create(&label)
                .set(signed(count.count()));
            let waiting = jobs.get(kind).map_or(0, |jobs| jobs.waiting);
            self.jobs_waiting
                .get_or_create(&label)
                .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }

    /// A beat has shown this.
    pub(super) fn saw(&self, view: &View, me: Incarnation) {
        self.is_joined.store(true, Ordering::Relaxed);
        self.up.set(1);
        self.hosts.set(signed(view.hosts.len()));
        self.shards.set(signed(view.shards.len()));
        let owned = view.shards.iter().filter(|shard| shard.owner == Some(me));
        self.owned.set(signed(owned.count()));
        let halted = view.shards.iter().filter(|shard| shard.halted.is_some());
        self.halted.set(signed(halted.count()));
        self.owner.clear();
        self.lag.clear();
        let following = view.host(me).map(|host| &host.following);
        for shard in &view.shards {
            let label = OfShard { shard: shard.id.0 };
            if let Some(owner) = shard.owner.and_then(|owner| view.host(owner)) {
                let owner = OfOwner {
                    shard: shard.id.0,
                    host: owner.name.clone(),
                };
                self.owner.get_or_create(&owner).set(1);
            }
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            self.epoch.get_or_create(&label).set(number(shard.epoch.0));
            self.records.get_or_create(&label).set(number(shard.head));
            let followers = view.hosts.iter();
            let followers = followers.filter(|host| host.following.contains_key(&shard.id));
            self.followers
                .get_or_create(&label)
                .set(signed(followers.count()));
            if let Some(at) = following.and_then(|following| following.get(&shard.id)) {
                let lag = shard.head.saturating_sub(*at);
                self.lag.get_or_create(&label).set(number(lag));
            }
        }
    }
}
