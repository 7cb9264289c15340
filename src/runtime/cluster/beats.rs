//! The life of a host of a cluster: it beats, looks, decides and acts, until it has to stop and has
//! handed its shards over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use agentry_cluster::{ClusterError, Database, HostRow, Layout, Topic};
use agentry_core::cluster::{BEAT, LEASE, Member, View};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::connect;
use super::node::NodeWatch;
use super::shards::Shards;
use super::surroundings;
use super::timer::Timer;
use crate::config::ClusterConfig;
use crate::runtime::host::process::Process;
use crate::runtime::host::run::Signals;
use crate::runtime::host::{HostError, Started};
use crate::runtime::lease::{Lease, monotonic};
use crate::runtime::metrics::Metrics;

/// The pause between attempts to reach the database at the start.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the last words to the database may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs a host of a cluster until it is asked to stop.
///
/// # Errors
/// The cluster cannot be joined.
pub(in crate::runtime) async fn run(
    process: Process,
    cluster: &ClusterConfig,
    status: SocketAddr,
    signals: Signals,
    ready: SyncSender<Started>,
) -> Result<(), HostError> {
    let (database, layout) = join(cluster).await?;
    let row = connect::row(&process.config, cluster, status)
        .map_err(|error| HostError::Thread(std::io::Error::other(error)))?;
    let lease = Lease::of_a_cluster();
    let process = Process {
        lease: lease.clone(),
        ..process
    };
    let started = process.started(status);
    let stop_limit = process.options.stop_limit;
    let (events, mut arriving) = mpsc::unbounded_channel();
    let Signals {
        mut stopping,
        reload: _,
        reloaded: _,
        cancel: _,
    } = signals;
    let (asks, mut asked) = mpsc::unbounded_channel();
    process.join(layout.shards, asks);
    let mut loads = process.loader.watch();
    let node = NodeWatch::new(&process.nodes, &process.config, cluster.release_after);
    let released = database.hints(Topic::Released);
    let me = row.incarnation;
    let workers = process.workers.clone();
    let on_workers = process.config.tasks.on_workers.clone();
    let shards = Shards::new(process, database.clone(), me, layout.shards, events);
    let metrics = Arc::clone(&started.metrics);
    let looking = workers.spawn(surroundings::watch(database.clone(), metrics, on_workers));
    let mut host = Host {
        member: Member::new(row.incarnation, row.format),
        database,
        row,
        lease,
        shards,
        timer: Timer::new(),
        node,
        metrics: Arc::clone(&started.metrics),
        is_reached: None,
        is_outdated: false,
    };
    host.beat().await;
    tracing::info!(
        host.name = host.row.name,
        shards = layout.shards.get(),
        "joined the cluster"
    );
    if ready.send(started).is_err() {
        // Nobody waits for it any more.
        return Ok(());
    }
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadline = None;
    loop {
        if deadline.is_some() && host.shards.owned() == 0 {
            break;
        }
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = beats.tick() => host.beat().await,
            // The agents of a shard are silent until somebody claims it.
            () = released.next() => host.beat().await,
            Ok(()) = loads.changed() => {
                host.row.config_hash = connect::config_hash(&loads.borrow_and_update().config);
            }
            Some(event) = arriving.recv() => host.shards.heed(event),
            Some(_) = asked.recv() => host.shards.follow_asked(),
            () = wait_for_stop(&mut stopping), if deadline.is_none() => {
                tracing::info!(shards = host.shards.owned(), "leaving the cluster: handing the shards over");
                deadline = Some(Instant::now() + stop_limit);
                host.member.drain();
                host.row.draining = true;
            }
            () = late => {
                tracing::warn!(
                    shards = host.shards.owned(),
                    "the time limit for stopping is reached: what is left is ended here, and goes on elsewhere"
                );
                break;
            }
        }
    }
    looking.abort();
    host.leave(&mut arriving).await;
    Ok(())
}

async fn wait_for_stop(stopping: &mut watch::Receiver<bool>) {
    // A dropped sender asks for it, too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Connects to the cluster's database. Waits for one that cannot be reached.
async fn join(cluster: &ClusterConfig) -> Result<(Database, Layout), HostError> {
    let settings = connect::settings(cluster)?;
    let mut told = false;
    loop {
        let joined = async {
            let database = Database::connect(&settings).await?;
            let layout = database.layout().await?;
            layout.check_open()?;
            database.prepare_to_claim().await?;
            Ok::<_, ClusterError>((database, layout))
        };
        match joined.await {
            Ok(joined) => return Ok(joined),
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for the cluster's database");
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A host of a cluster.
struct Host {
    member: Member,
    database: Database,
    row: HostRow,
    lease: Lease,
    shards: Shards,
    timer: Timer,
    node: NodeWatch,
    metrics: Arc<Metrics>,
    /// Whether the database answered the last beat.
    is_reached: Option<bool>,
    /// Whether some logs have a later format than this host reads.
    is_outdated: bool,
}

impl Host {
    /// Beats, and does what is decided by what the beat shows.
    async fn beat(&mut self) {
        // While this runs, the process is not frozen. Whether it may post is another matter.
        self.timer.set(LEASE);
        self.row.following = self.shards.following();
        self.row.without_node = self.node.is_lost();
        self.shards.look_after_followed();
        let duties = self.shards.duties();
        let sent = monotonic();
        let view = match self.database.beat(&self.row).await {
            Ok(view) => view,
            Err(error) => {
                if self.is_reached != Some(false) {
                    tracing::error!(%error, "the cluster's database does not answer: nothing new is done until it does");
                }
                self.is_reached = Some(false);
                self.metrics.lost_cluster();
                return;
            }
        };
        if self.is_reached == Some(false) {
            tracing::info!("the cluster's database answers again");
        }
        self.is_reached = Some(true);
        self.metrics.saw_cluster(&view, self.row.incarnation);
        self.tell_format(&view);
        self.shards.follow_asked();
        for action in self.member.saw(sent, monotonic(), &view, &duties) {
            self.shards.act(action);
        }
        // After that: what is another host's must not post because of this beat.
        self.lease.renew(sent);
        self.shards.relay(view.shards.iter().map(|shard| shard.id));
    }

    /// Says once that this host cannot take some shards.
    fn tell_format(&mut self, view: &View) {
        let formats = view.shards.iter().map(|shard| view.format(shard));
        let later = formats.max().filter(|format| *format > self.row.format);
        if let (false, Some(format)) = (self.is_outdated, later) {
            tracing::warn!(
                format,
                reads = self.row.format,
                "some shards have a later format of records than this host reads: it leaves them to other hosts until it is upgraded"
            );
        }
        self.is_outdated = later.is_some();
    }

    /// Ends what still runs, releases it, and removes this host. It does not beat any more: each step
    /// takes less than the time until the timer would end it.
    async fn leave(&mut self, arriving: &mut mpsc::UnboundedReceiver<super::shards::Event>) {
        self.timer.set(LEASE);
        self.shards.end(Duration::ZERO);
        let ended = async {
            while self.shards.owned() > 0
                && let Some(event) = arriving.recv().await
            {
                self.shards.heed(event);
            }
        };
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!("not all shards could be released; other hosts claim them soon");
        }
        self.timer.set(LEASE);
        let left = tokio::time::timeout(FAREWELL, self.database.leave(self.row.incarnation));
        if !matches!(left.await, Ok(Ok(()))) {
            tracing::debug!("the row of this host stays in the database");
        }
    }
}
