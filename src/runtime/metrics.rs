//! Counters, gauges and histograms, in the format that Prometheus reads.

mod cluster;
pub(super) mod durations;
mod gauges;
pub(super) mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use agentry_protocol::Timestamp;
use agentry_sdk::Tokens;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use agentry_cluster::{JobCount, WorkerSeen};
use agentry_core::cluster::{Incarnation, View};
use agentry_core::rows::{Spent, TaskState};
use agentry_store::{Condition as StoreCondition, Store};

use self::cluster::ClusterGauges;
use self::durations::Durations;
pub use self::gauges::Pulse;
use self::gauges::{Gauges, STANDINGS, Shards, Together, signed};
use super::series::{Timing, Totals};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Run {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpentBy {
    standing: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CoordinatorCall {
    call: &'static str,
    outcome: &'static str,
}

#[cfg(feature = "otlp")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpanEnded {
    end: &'static str,
}

/// What became of a span.
#[cfg(feature = "otlp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanEnd {
    /// The collector took it.
    Exported,
    /// There was no room in the queue.
    Dropped,
    /// The collector did not take it.
    Failed,
}

/// The counters of a process, and the state of one of its shards, which `/ready` reports. On one
/// machine there is one shard.
#[derive(Debug)]
pub struct Metrics {
    all: Arc<Registered>,
    own: Arc<Gauges>,
}

/// What is shown of a process.
#[derive(Debug)]
struct Registered {
    shards: Shards,
    registry: Registry,
    /// What is shown of the cluster, if this host is in one.
    cluster: Option<ClusterGauges>,
    arrived: Counter,
    repeated: Counter,
    forged: Counter,
    refused: Counter,
    undecodable: Counter,
    handled: Counter,
    dead_letters: Counter,
    expired: Counter,
    resent: Counter,
    rate_paused: Counter,
    runs: Family<Run, Counter>,
    durations: Durations,
    hung: Counter,
    accepted: Counter,
    mined: Counter,
    lost: Counter,
    failed: Counter,
    transactions_expired: Counter,
    tasks: Family<Ended, Counter>,
    tokens: Family<Direction, Counter>,
    #[cfg(feature = "otlp")]
    spans: Family<SpanEnded, Counter>,
    posts_failed: Counter,
    coordinator_requests: Family<CoordinatorCall, Counter>,
    coordinator_messages: Counter,
    coordinator_agents: Gauge,
    reorganisations: Counter,
    budget_spent: Gauge,
    budget_spent_by: Family<SpentBy, Gauge>,
    out_of_budget: Gauge,
    directory: Gauge,
    awake: Gauge,
    open: Gauge,
    block_height: Gauge,
    clock_ahead: Gauge,
    blocks_behind: Gauge,
    directory_left: Gauge,
    source_up_gauge: Gauge,
    breaker_gauge: Gauge,
    halted_gauge: Gauge,
    catching_up_gauge: Gauge,
    overdue: Gauge,
    mempool_gauge: Gauge,
    store_gauge: Gauge,
    store_refusals: Counter,
    last_handled_ms: AtomicU64,
    last_accepted_ms: AtomicU64,
    run_times: Timing,
    post_times: Timing,
}

/// The state of a shard, for `/ready`.
#[derive(
    Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Condition {
    /// Whether all conditions below hold.
    pub ready: bool,
    /// The chain can be read.
    pub source_up: bool,
    /// The posting node answers.
    pub node_up: bool,
    /// Posting is not stopped.
    pub posting: bool,
    /// The chain is read up to the head seen at startup, so that agents act.
    pub acting: bool,
    /// The source node is not behind the blocks already read, or has not been for long.
    pub caught_up: bool,
    /// The number of blocks by which it is behind.
    pub behind: u64,
    /// Changes are stored, and stored data can be read.
    pub store_up: bool,
    /// The problem with the store, if there is one.
    pub reason: Option<String>,
    /// The last block that was read; `null` if none was read yet.
    pub height: Option<i64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Registered {
    fn new(cluster: Option<ClusterGauges>) -> Self {
        let mut registry = Registry::with_prefix("agentry");
        if let Some(cluster) = &cluster {
            cluster.register(&mut registry);
        }
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let arrived = counter("messages_arrived", "messages to hosted wallets, first seen");
        let repeated = counter(
            "messages_repeated",
            "messages seen again because of a reorganisation, a respelled signature or a replay",
        );
        let forged = counter(
            "messages_forged",
            "messages that their stated sender did not sign",
        );
        let refused = counter(
            "messages_refused",
            "messages whose contents were not kept, because their senders have no more room",
        );
        let undecodable = counter(
            "transactions_undecodable",
            "transactions on the chain that cannot be decoded",
        );
        let handled = counter(
            "messages_handled",
            "messages that at least one behaviour handled and that every behaviour has completed",
        );
        let dead_letters = counter(
            "dead_letters",
            "messages that were moved to the dead-letter queue",
        );
        let expired = counter(
            "messages_expired",
            "messages that expired before their turn came",
        );
        let resent = counter(
            "messages_resent",
            "messages resent because no acknowledgment arrived in time",
        );
        let rate_paused = counter(
            "rate_pauses",
            "times that a sender had to wait because of its rate",
        );
        let hung = counter(
            "behaviours_hung",
            "behaviour runs that blocked a thread and were left behind",
        );
        let accepted = counter(
            "transactions_accepted",
            "transactions that the node accepted; each is counted once",
        );
        let mined = counter("transactions_mined", "transactions seen in a block");
        let lost = counter(
            "transactions_lost",
            "transactions that the node dropped after accepting them",
        );
        let failed = counter(
            "transactions_failed",
            "transactions that the node refused permanently",
        );
        let posts_failed = counter("posts_failed", "POSTs without a valid answer");
        let reorganisations = counter("reorganisations", "times that blocks were withdrawn");
        let store_refusals = counter(
            "store_refusals",
            "times that the store stopped accepting changes, as on a full disk",
        );
        let coordinator_messages = counter(
            "coordinator_messages",
            "unverified messages, not read before, in the inboxes of agents in the agent coordinator",
        );
        let transactions_expired = counter(
            "transactions_lapsed",
            "transactions that expired before they were signed",
        );
        let tasks = Family::default();
        registry.register(
            "tasks_ended",
            "tasks that ended, by final state",
            tasks.clone(),
        );
        let coordinator_requests = Family::default();
        registry.register(
            "coordinator_requests",
            "requests to the agent coordinator, by call and outcome",
            coordinator_requests.clone(),
        );
        let tokens = Family::default();
        registry.register(
            "task_tokens",
            "tokens of models that tasks have used, by direction",
            tokens.clone(),
        );
        #[cfg(feature = "otlp")]
        let spans = Family::default();
        #[cfg(feature = "otlp")]
        registry.register(
            "trace_spans",
            "spans of traces, by what became of them",
            spans.clone(),
        );
        let runs = Family::default();
        registry.register(
            "behaviour_runs",
            "runs of behaviours, by kind and outcome",
            runs.clone(),
        );
        let durations = Durations::register(&mut registry);
        let budget_spent_by = Family::default();
        registry.register(
            "budget_spent_by",
            "spending of all agents today (UTC) caused by senders that are not known, in the unit of the chain",
            budget_spent_by.clone(),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let coordinator_agents = gauge(
            "coordinator_agents",
            "agents that are registered in the agent coordinator",
        );
        let awake = gauge("agents_awake", "agents that have work to do");
        let open = gauge(
            "transactions_open",
            "transactions that are signed and in no block",
        );
        let budget_spent = gauge(
            "budget_spent",
            "spending of all agents today (UTC) from their budgets, in the unit of the chain",
        );
        let out_of_budget = gauge(
            "agents_out_of_budget",
            "agents with transactions that wait for a budget",
        );
        let directory = gauge("directory_agents", "agents with a card in the directory");
        let block_height = gauge("block_height", "height of the last block that was read");
        let clock_ahead = gauge(
            "clock_ahead_seconds",
            "how far the local clock is ahead of the time that blocks confirm",
        );
        let blocks_behind = gauge(
            "blocks_behind",
            "number of blocks by which the node is behind the blocks already read",
        );
        let directory_left = gauge(
            "directory_blocks_left",
            "old blocks that the directory backfill still has to read",
        );
        let source_up_gauge = gauge("source_up", "1 while the chain can be read");
        let breaker_gauge = gauge(
            "breaker_open",
            "1 while the circuit breaker for the node is open",
        );
        let halted_gauge = gauge(
            "posting_halted",
            "1 while posting is stopped until an operator resumes it",
        );
        let catching_up_gauge = gauge(
            "catching_up",
            "1 while agents do not act because the chain is being read up to its head at startup",
        );
        let overdue = gauge(
            "transactions_overdue",
            "transactions that the node accepted and that are in no block ten blocks later",
        );
        let mempool_gauge = gauge(
            "mempool_unreadable",
            "1 while the node's mempool cannot be read, so that dropped transactions are not posted again",
        );
        let store_gauge = gauge(
            "store_up",
            "1 while changes are stored and stored data can be read",
        );
        Self {
            shards: Shards::default(),
            registry,
            cluster,
            arrived,
            repeated,
            forged,
            refused,
            undecodable,
            handled,
            dead_letters,
            expired,
            resent,
            rate_paused,
            runs,
            durations,
            hung,
            accepted,
            mined,
            lost,
            failed,
            transactions_expired,
            tasks,
            tokens,
            #[cfg(feature = "otlp")]
            spans,
            posts_failed,
            coordinator_requests,
            coordinator_messages,
            coordinator_agents,
            reorganisations,
            budget_spent,
            budget_spent_by,
            out_of_budget,
            directory,
            awake,
            open,
            block_height,
            clock_ahead,
            blocks_behind,
            directory_left,
            source_up_gauge,
            breaker_gauge,
            halted_gauge,
            catching_up_gauge,
            overdue,
            mempool_gauge,
            store_gauge,
            store_refusals,
            last_handled_ms: AtomicU64::new(0),
            last_accepted_ms: AtomicU64::new(0),
            run_times: Timing::default(),
            post_times: Timing::default(),
        }
    }

    /// Sets the gauges to the values of the shards.
    fn gather(&self) {
        let shards = Together::of(self.shards.all());
        self.budget_spent.set(shards.sum(|shard| &shard.spent));
        for (at, standing) in STANDINGS.into_iter().enumerate() {
            let standing = SpentBy {
                standing: standing.as_str(),
            };
            let sum = shards.sum(|shard| shard.spent_by.get(at).unwrap_or(&shard.spent));
            self.budget_spent_by.get_or_create(&standing).set(sum);
        }
        self.out_of_budget
            .set(shards.sum(|shard| &shard.out_of_budget));
        self.awake.set(shards.sum(|shard| &shard.awake));
        self.open.set(shards.sum(|shard| &shard.open));
        self.overdue.set(shards.sum(|shard| &shard.overdue));
        // Each shard has the cards of the chain.
        self.directory.set(shards.most(|shard| &shard.directory));
        self.directory_left
            .set(shards.most(|shard| &shard.directory_left));
        self.clock_ahead
            .set(shards.most(|shard| &shard.clock_ahead));
        let height = shards.least(|shard| &shard.read) - 1;
        self.block_height.set(height.max(0));
        self.blocks_behind.set(shards.behind());
        self.source_up_gauge
            .set(1 - shards.any(|shard| &shard.source_down));
        self.breaker_gauge
            .set(shards.any(|shard| &shard.breaker_open));
        self.halted_gauge.set(shards.any(|shard| &shard.is_halted));
        self.catching_up_gauge
            .set(shards.any(|shard| &shard.catching_up));
        self.mempool_gauge
            .set(shards.any(|shard| &shard.mempool_unreadable));
        self.store_gauge.set(shards.stores_up());
    }
}

impl Metrics {
    /// The metrics of a process with one shard. All values are zero.
    pub fn new() -> Self {
        Self::of(Arc::new(Registered::new(None)))
    }

    /// The metrics of a host of a cluster, which has no shard yet.
    pub fn of_a_cluster() -> Self {
        Self {
            all: Arc::new(Registered::new(Some(ClusterGauges::default()))),
            own: Arc::default(),
        }
    }

    /// The metrics of a further shard of the process; its values count until it is dropped.
    #[must_use]
    pub fn of_another_shard(&self) -> Self {
        Self::of(Arc::clone(&self.all))
    }

    fn of(all: Arc<Registered>) -> Self {
        let own = all.shards.add();
        Self { all, own }
    }

    /// The text in the format that Prometheus reads.
    ///
    /// # Errors
    /// Formatting failed, which it does not for a `String`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        self.all.gather();
        prometheus_client::encoding::text::encode(&mut text, &self.all.registry)?;
        Ok(text)
    }

    /// The counters, as the [series](super::series) of the console needs them.
    pub fn totals(&self) -> Totals {
        let all = &self.all;
        let shards = Together::of(all.shards.all());
        Totals {
            arrived: all.arrived.get(),
            handled: all.handled.get(),
            dead_letters: all.dead_letters.get(),
            accepted: all.accepted.get(),
            mined: all.mined.get(),
            failed: all.failed.get(),
            hung: all.hung.get(),
            runs: all.run_times.counted(),
            posts: all.post_times.counted(),
            open: shards.sum(|shard| &shard.open),
            awake: shards.sum(|shard| &shard.awake),
            spent: shards.sum(|shard| &shard.spent),
            out_of_budget: shards.sum(|shard| &shard.out_of_budget),
            overdue: shards.sum(|shard| &shard.overdue),
        }
    }

    /// The state of the shard; [of a host of a cluster](Self::of_a_cluster), that of its shards
    /// together.
    pub fn condition(&self) -> Condition {
        let shards = self.all.shards.all();
        match &self.all.cluster {
            Some(cluster) if !shards.iter().any(|shard| Arc::ptr_eq(shard, &self.own)) => {
                Together::of(shards).condition(cluster.is_joined())
            }
            _ => self.own.condition(),
        }
    }

    /// The progress of the watchers of all shards of the process.
    pub fn pulses(&self) -> Vec<Pulse> {
        let shards = self.all.shards.all();
        shards.iter().map(Gauges::pulse).collect()
    }

    /// The watcher of the chain has moved on.
    pub(crate) fn watcher_moved(&self) {
        // Never 0 again, in any time.
        self.own.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// The watcher of the chain has ended.
    pub(crate) fn watcher_ended(&self) {
        self.own.turns.store(0, Ordering::Relaxed);
    }

    /// A beat has shown this of the cluster.
    pub(crate) fn saw_cluster(&self, view: &View, me: Incarnation) {
        if let Some(cluster) = &self.all.cluster {
            cluster.saw(view, me);
        }
    }

    /// So many synchronous standbys are connected to the cluster's database, if that is known.
    pub(crate) fn saw_standbys(&self, count: Option<u32>) {
        if let Some(cluster) = &self.all.cluster {
            cluster.standbys(count);
        }
    }

    /// These are the workers and the jobs of the cluster; `kinds` are the types that workers run.
    pub(crate) fn saw_workers(
        &self,
        kinds: &[String],
        workers: &[WorkerSeen],
        jobs: &BTreeMap<String, JobCount>,
    ) {
        if let Some(cluster) = &self.all.cluster {
            cluster.workers(kinds, workers, jobs);
        }
    }

    /// The cluster's database did not answer.
    pub(crate) fn lost_cluster(&self) {
        if let Some(cluster) = &self.all.cluster {
            cluster.lost();
        }
    }

    /// The number of transactions that the node accepted. Each is counted once: when the node says
    /// so or, if its answer was lost or late, when the transaction is seen in a block.
    pub fn accepted_count(&self) -> u64 {
        self.all.accepted.get()
    }

    /// When the last one was accepted; the epoch before the first.
    pub fn last_accepted(&self) -> Timestamp {
        Timestamp::new(self.all.last_accepted_ms.load(Ordering::Relaxed))
    }

    /// Records whether the chain could be read. Returns whether that is a change.
    pub(crate) fn source_up(&self, up: bool) -> bool {
        if up {
            self.own.read_once.store(true, Ordering::Relaxed);
        }
        self.own.source_down.swap(!up, Ordering::Relaxed) == up
    }

    /// Records by how many blocks the node is behind the blocks already read, and whether that is
    /// tolerable yet.
    pub(crate) fn behind(&self, blocks: u64, is_tolerable: bool) {
        self.own.behind.store(blocks, Ordering::Relaxed);
        self.own.is_behind.store(!is_tolerable, Ordering::Relaxed);
    }

    /// Transactions of a block cannot be decoded.
    pub(crate) fn undecodable(&self, count: u64) {
        self.all.undecodable.inc_by(count);
    }

    pub(crate) fn messages(&self, arrived: usize, repeated: usize) {
        self.all.arrived.inc_by(arrived as u64);
        self.all.repeated.inc_by(repeated as u64);
    }

    pub(crate) fn forged(&self) {
        self.all.forged.inc();
    }

    /// Messages were refused because their senders have no more room.
    pub(crate) fn refused(&self, count: usize) {
        self.all.refused.inc_by(count as u64);
    }

    pub(crate) fn message_handled(&self, now: Timestamp) {
        self.all.handled.inc();
        self.all.last_handled_ms.store(now.get(), Ordering::Relaxed);
    }

    /// A message comes to its first attempt after it has waited that long.
    pub(crate) fn message_waited(&self, waited: Duration) {
        self.all.durations.message_waited(waited);
    }

    /// An attempt at a task of this type has ended on this host.
    pub(crate) fn task_ran(&self, kind: &str, took: Duration) {
        self.all.durations.tasks.ran(kind, took);
    }

    /// Has the commits of a store timed.
    pub(crate) fn time_commits(&self, store: &Store) {
        let commits = self.all.durations.commits.clone();
        store.time_commits(move |took| commits.observe(took.as_secs_f64()));
    }

    pub(crate) fn dead_letters(&self, count: usize) {
        self.all
            .dead_letters
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn expired(&self) {
        self.all.expired.inc();
    }

    pub(crate) fn resent(&self) {
        self.all.resent.inc();
    }

    pub(crate) fn rate_paused(&self) {
        self.all.rate_paused.inc();
    }

    pub(crate) fn behaviour_ran(&self, kind: &str, ok: bool, took: Duration) {
        let outcome = if ok { "ok" } else { "failed" };
        self.all
            .runs
            .get_or_create(&Run {
                kind: kind.to_owned(),
                outcome,
            })
            .inc();
        self.all.durations.behaviour_ran(kind, took);
        self.all.run_times.observe(took);
    }

    pub(crate) fn behaviour_hung(&self) {
        self.all.hung.inc();
    }

    pub(crate) fn posted(&self, ok: bool, took: Duration) {
        if !ok {
            self.all.posts_failed.inc();
        }
        self.all.durations.posted(took);
        self.all.post_times.observe(took);
    }

    /// The node has accepted a transaction; `seen_at` is when the message was seen that it answers.
    pub(crate) fn accepted(&self, now: Timestamp, seen_at: Option<Timestamp>) {
        self.all.accepted.inc();
        if let Some(seen_at) = seen_at {
            self.all.durations.answered(now.since(seen_at));
        }
        self.all
            .last_accepted_ms
            .store(now.get(), Ordering::Relaxed);
    }

    pub(crate) fn mined(&self) {
        self.all.mined.inc();
    }

    pub(crate) fn lost(&self) {
        self.all.lost.inc();
    }

    pub(crate) fn failed(&self) {
        self.all.failed.inc();
    }

    /// Drafts expired before they were signed.
    pub(crate) fn transactions_expired(&self, count: usize) {
        self.all.transactions_expired.inc_by(count as u64);
    }

    /// A task has ended in this state.
    pub(crate) fn task_ended(&self, state: TaskState) {
        let state = state.as_str();
        self.all.tasks.get_or_create(&Ended { state }).inc();
    }

    /// An attempt at a task has used these tokens.
    pub(crate) fn tokens_used(&self, used: Option<Tokens>) {
        let Some(Tokens { input, output }) = used else {
            return;
        };
        for (direction, count) in [("input", input), ("output", output)] {
            let direction = Direction { direction };
            self.all.tokens.get_or_create(&direction).inc_by(count);
        }
    }

    /// A request to the agent coordinator has ended that way.
    pub(crate) fn coordinator_request(&self, call: &'static str, outcome: &'static str) {
        let call = CoordinatorCall { call, outcome };
        self.all.coordinator_requests.get_or_create(&call).inc();
    }

    /// Messages were found in inboxes of the agent coordinator.
    pub(crate) fn coordinator_messages(&self, count: u64) {
        self.all.coordinator_messages.inc_by(count);
    }

    /// The number of agents that are registered in the agent coordinator.
    pub(crate) fn coordinator_agents(&self, count: usize) {
        self.all.coordinator_agents.set(signed(count));
    }

    /// Spans have ended that way.
    #[cfg(feature = "otlp")]
    pub(crate) fn spans(&self, end: SpanEnd, count: u64) {
        let end = match end {
            SpanEnd::Exported => "exported",
            SpanEnd::Dropped => "dropped",
            SpanEnd::Failed => "failed",
        };
        self.all
            .spans
            .get_or_create(&SpanEnded { end })
            .inc_by(count);
    }

    /// The number of agents in the directory.
    pub(crate) fn directory(&self, size: usize) {
        self.own.directory.store(signed(size), Ordering::Relaxed);
    }

    /// The spending of all agents today.
    pub(crate) fn budget_spent(&self, spent: &Spent) {
        self.own.set_spent(spent);
    }

    /// The number of agents with transactions that wait for a budget.
    pub(crate) fn agents_out_of_budget(&self, count: usize) {
        self.own
            .out_of_budget
            .store(signed(count), Ordering::Relaxed);
    }

    pub(crate) fn reorganisation(&self, _depth: u64) {
        self.all.reorganisations.inc();
    }

    pub(crate) fn agents_awake(&self, count: usize) {
        self.own.awake.store(signed(count), Ordering::Relaxed);
    }

    pub(crate) fn outbox_open(&self, count: usize) {
        self.own.open.store(signed(count), Ordering::Relaxed);
    }

    pub(crate) fn height(&self, height: u64) {
        let height = i64::try_from(height).unwrap_or(i64::MAX);
        self.own
            .read
            .store(height.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn clock_ahead(&self, ahead_ms: u64) {
        let seconds = i64::try_from(ahead_ms / 1000).unwrap_or(i64::MAX);
        self.own.clock_ahead.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn directory_left(&self, blocks: u64) {
        let blocks = i64::try_from(blocks).unwrap_or(i64::MAX);
        self.own.directory_left.store(blocks, Ordering::Relaxed);
    }

    pub(crate) fn breaker(&self, open: bool) {
        self.own.breaker_open.store(open, Ordering::Relaxed);
    }

    /// The number of transactions that are accepted and overdue.
    pub(crate) fn transactions_overdue(&self, count: usize) {
        self.own.overdue.store(signed(count), Ordering::Relaxed);
    }

    pub(crate) fn mempool_unreadable(&self, unreadable: bool) {
        self.own
            .mempool_unreadable
            .store(unreadable, Ordering::Relaxed);
    }

    pub(crate) fn catching_up(&self, catching_up: bool) {
        self.own.catching_up.store(catching_up, Ordering::Relaxed);
    }

    /// Records the state of the store.
    pub(crate) fn store(&self, condition: &StoreCondition) {
        let store = &self.own.store;
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(condition, StoreCondition::Refusing(_)) && *store != *condition {
            self.all.store_refusals.inc();
        }
        store.clone_from(condition);
    }

    pub(crate) fn halted(&self, halted: bool) {
        self.own.is_halted.store(halted, Ordering::Relaxed);
    }
}
