//! What the shards of a host have in common: hints that jobs have ended, and the search for workers
//! that beat no more.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentry_cluster::{Database, Topic};
use agentry_core::cluster::{Epoch, ShardId};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Jobs;

/// How long the beat of a worker may stand still until its attempts are interrupted: ten beats, so
/// that a busy machine or network is not taken for a dead worker, whose work would be done again.
const LOST: Duration = Duration::from_secs(5);

/// How often lost workers are looked for, while there are any jobs.
const LOOK: Duration = Duration::from_secs(1);

/// Where a host puts the jobs of all its shards. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct Queue {
    pub(super) database: Database,
    /// The types of task that workers run.
    pub(super) kinds: Arc<HashSet<String>>,
    /// Whether a shard waits for jobs. Each sets it with each look.
    pub(super) is_busy: Arc<AtomicBool>,
    /// Changes when it is worth to look at the jobs.
    pub(super) hints: watch::Receiver<u64>,
}

impl Queue {
    /// A queue for tasks of these types. What it needs in the background runs on `workers`, until the
    /// last clone is dropped.
    pub(in crate::runtime) fn new(
        database: &Database,
        kinds: &[String],
        workers: &tokio::runtime::Handle,
    ) -> Self {
        let (sender, hints) = watch::channel(0);
        let queue = Self {
            database: database.clone(),
            kinds: Arc::new(kinds.iter().cloned().collect()),
            is_busy: Arc::default(),
            hints,
        };
        if !kinds.is_empty() {
            let (database, is_busy) = (database.clone(), Arc::clone(&queue.is_busy));
            workers.spawn(serve(database, is_busy, sender));
        }
        queue
    }

    /// The jobs of a shard, under the epoch of this host's claim.
    pub(in crate::runtime) fn of(&self, shard: ShardId, epoch: Epoch) -> Jobs {
        Jobs::new(self.clone(), shard, epoch)
    }
}

async fn serve(database: Database, is_busy: Arc<AtomicBool>, sender: watch::Sender<u64>) {
    let hints = database.hints(Topic::End);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = hints.next() => sender.send_modify(|count| *count += 1),
            _ = looks.tick() => {
                if !is_busy.swap(false, Ordering::AcqRel) {
                    continue;
                }
                match database.interrupt_lost_jobs(LOST).await {
                    Ok(lost) if lost.is_empty() => {}
                    Ok(lost) => {
                        tracing::warn!(jobs = lost.len(), "workers beat no more: what they ran is interrupted");
                        sender.send_modify(|count| *count += 1);
                    }
                    Err(error) => tracing::debug!(%error, "cannot look for lost workers"),
                }
            }
        }
    }
}
