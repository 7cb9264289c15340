//! A shard that runs, on a thread and an actix system of its own: when it ends, nothing of it is left,
//! and what the other shards do is not affected.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::System;
use agentry_cluster::Database;
use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::Position;
use tokio::sync::{mpsc, watch};

use super::shards::Event;
use super::snapshots;
use crate::runtime::host::process::Process;
use crate::runtime::host::shard::{self, Prepared};
use crate::runtime::host::{HostError, HostOptions};
use crate::runtime::kill::{self, Point};
use crate::runtime::lease::Lease;
use crate::runtime::presence::Entered;

/// The threads of a shard on which agents run.
const ARBITERS: usize = 1;

/// How a shard is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// It runs.
    #[default]
    None,
    /// It finishes what is in hand, in this time.
    Finish(Duration),
    /// It is another host's now.
    Lost,
}

/// What a shard needs to run.
pub(super) struct Claimed {
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) head: Position,
    pub(super) store: Entered,
    pub(super) database: Database,
}

/// A shard that runs. Dropping it lets it end, and does not wait.
#[derive(Debug)]
pub(super) struct Runner {
    lease: Lease,
    ending: watch::Sender<Ending>,
    stopping: watch::Sender<bool>,
    _thread: JoinHandle<()>,
}

impl Runner {
    /// Runs a shard that was claimed. What becomes of it is told as [`Event::Started`] and
    /// [`Event::Ended`].
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(
        process: Process,
        claimed: Claimed,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Self, HostError> {
        let (ending, endings) = watch::channel(Ending::None);
        let (stopping, stopped) = watch::channel(false);
        let (shard, epoch) = (claimed.shard, claimed.epoch);
        let lease = process.lease.of_shard();
        let process = Process {
            lease: lease.clone(),
            ..process
        };
        let span = tracing::info_span!("shard", shard.id = shard.0);
        let thread = std::thread::Builder::new()
            .name(format!("agentry-shard-{shard}"))
            .spawn(move || {
                let _span = span.entered();
                let workers = process.workers.clone();
                let system = System::new();
                let run = run(process, claimed, (endings, stopped), &events);
                let result = system.block_on(run);
                {
                    // Pending requests release their connections here.
                    let _workers = workers.enter();
                    drop(system);
                }
                // If nobody listens, the process ends.
                let _ = events.send(Event::Ended {
                    shard,
                    epoch,
                    result,
                });
            })
            .map_err(HostError::Thread)?;
        Ok(Self {
            lease,
            ending,
            stopping,
            _thread: thread,
        })
    }

    /// Has the shard end. One that is lost posts nothing any more when this returns, but for what has left
    /// already.
    pub(super) fn end(&self, ending: Ending) {
        if ending == Ending::Lost {
            self.lease.revoke();
        }
        // It may have ended already.
        let _ = self.ending.send(ending);
        let _ = self.stopping.send(true);
    }
}

async fn run(
    process: Process,
    claimed: Claimed,
    (endings, stopped): (watch::Receiver<Ending>, watch::Receiver<bool>),
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), HostError> {
    let Claimed {
        shard,
        epoch,
        head,
        store,
        database,
    } = claimed;
    let process = Process {
        metrics: Arc::new(process.metrics.of_another_shard()),
        options: HostOptions {
            clock: process.options.clock.of_another_store(),
            ..process.options
        },
        ..process
    };
    let preparing = async {
        store.lead(epoch, head).await?;
        kill::pass(Point::AfterLead);
        shard::check_chain(&process.config, &store).await?;
        Prepared::new(process.clone(), store.clone(), stopped.clone()).await
    };
    let mut ended = stopped.clone();
    let prepared = tokio::select! {
        prepared = preparing => prepared?,
        _ = ended.wait_for(|stopped| *stopped) => return Ok(()),
    };
    let running = prepared.start(ARBITERS).await?;
    let _ = events.send(Event::Started { shard, epoch });
    let every = process.config.cluster.as_ref();
    let every = every.map_or(u64::MAX, |cluster| cluster.snapshot_every);
    let snapshots = snapshots::keep(database, shard, epoch, store.clone(), every);
    let snapshots = process.workers.spawn(snapshots);
    let result = running.run().await;
    let ending = *endings.borrow();
    if let Ending::Finish(limit) = ending {
        kill::pass(Point::WhileHandingOver);
        running.finish(limit).await;
    }
    snapshots.abort();
    running.end();
    result
}
