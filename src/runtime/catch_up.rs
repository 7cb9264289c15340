//! Reading the chain up to the head seen at startup, before agents act.
//!
//! A store may be older than what the chain shows of its own wallets: it was restored from a copy,
//! or it is new. So agents do not act, tasks do not run, and nothing is signed or posted until the
//! chain is read [far enough](agentry_core::catch_up). Then every message that the wallets have sent
//! is known, and is not sent again. After an ordinary stop this takes as long as reading the missed
//! blocks.
//!
//! The head is the one seen at startup, so the wait ends however fast the chain grows. It also ends
//! when the source shows no new block below that head for `STALL`: the source has lost the blocks,
//! or follows another node that makes no progress.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentry_core::OutboxId;
use agentry_core::catch_up::Goal;
use agentry_protocol::BlockHeight;
use tokio::sync::watch;

use super::Shared;

/// For how long a source may show nothing new below the head seen at startup.
const STALL: Duration = Duration::from_secs(60);

/// How long the wait lasts before the log reports it.
const QUIET: Duration = Duration::from_secs(3);

/// How often the log repeats that the wait continues.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Whether the chain is read up to the head seen at startup. By default it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CatchUp(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    done: watch::Sender<bool>,
    /// The last row of the outbox at startup.
    mark: OutboxId,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    goal: Goal,
    /// The height through which the chain is read.
    read: BlockHeight,
    /// Since when the source has shown nothing new.
    stalled: Option<Instant>,
}

impl Default for CatchUp {
    fn default() -> Self {
        let caught_up = Self::to(BlockHeight(0), OutboxId(0));
        caught_up.finish();
        caught_up
    }
}

impl CatchUp {
    /// Waits until the chain is read up to `target`. `mark` is the last row of the outbox.
    pub fn to(target: BlockHeight, mark: OutboxId) -> Self {
        Self(Arc::new(Inner {
            done: watch::Sender::new(false),
            mark,
            progress: Mutex::new(Progress {
                goal: Goal::to(target),
                read: BlockHeight(0),
                stalled: None,
            }),
        }))
    }

    /// Whether agents may act.
    pub fn is_done(&self) -> bool {
        *self.0.done.borrow()
    }

    /// Returns when agents may act.
    pub async fn done(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.done.subscribe().wait_for(|done| *done).await;
    }

    /// The last row of the outbox at startup, while agents may not act.
    pub fn mark(&self) -> Option<OutboxId> {
        (!self.is_done()).then_some(self.0.mark)
    }

    /// The height up to which the chain must be read, and the height through which it is read.
    pub fn position(&self) -> (BlockHeight, BlockHeight) {
        let progress = self.progress();
        (progress.goal.target(), progress.read)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        let progress = self.0.progress.lock();
        progress.unwrap_or_else(PoisonError::into_inner)
    }

    /// A reading is stored through this block, with blocks `withdrawn` or not; `more` is to be read.
    pub(super) fn read(&self, through: Option<BlockHeight>, withdrawn: bool, more: bool) {
        if self.is_done() {
            return;
        }
        let height = through.unwrap_or(BlockHeight(0));
        let mut progress = self.progress();
        let has_advanced = progress.read < height;
        progress.read = height;
        if progress.goal.read(height, withdrawn, more) {
            return self.finish();
        }
        if more || has_advanced {
            progress.stalled = None;
        } else if progress.stalled.get_or_insert_with(Instant::now).elapsed() >= STALL {
            tracing::warn!(
                block.height = height.0,
                head.height = progress.goal.target().0,
                "the source shows no more blocks, although its head was higher at startup; agents act"
            );
            self.finish();
        }
    }

    fn finish(&self) {
        self.0.done.send_replace(true);
    }
}

/// Updates the log and the metrics while agents wait, and when the wait ends.
pub(super) async fn report(shared: Shared) {
    let catch_up = shared.catch_up.clone();
    let mut patience = QUIET;
    while tokio::time::timeout(patience, catch_up.done())
        .await
        .is_err()
    {
        let (target, read) = catch_up.position();
        tracing::warn!(
            block.height = read.0,
            head.height = target.0,
            "agents do not act yet: the chain is being read up to its head at startup"
        );
        patience = TELL_EVERY;
    }
    shared.metrics.catching_up(false);
    if patience != QUIET {
        tracing::info!("the chain is read up to its head at startup; agents act");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(height: u64) -> Option<BlockHeight> {
        Some(BlockHeight(height))
    }

    #[test]
    fn by_default_agents_act() {
        let catch_up = CatchUp::default();
        assert!(catch_up.is_done());
        assert_eq!(catch_up.mark(), None);
    }

    #[tokio::test]
    async fn agents_act_when_the_head_at_startup_is_read() {
        let catch_up = CatchUp::to(BlockHeight(10), OutboxId(7));
        let waiting = tokio::spawn({
            let catch_up = catch_up.clone();
            async move { catch_up.done().await }
        });
        for (through, more) in [(None, false), (at(5), true), (at(9), false)] {
            catch_up.read(through, false, more);
            assert!(!catch_up.is_done());
            assert_eq!(catch_up.mark(), Some(OutboxId(7)));
        }
        catch_up.read(at(12), false, true);
        assert!(catch_up.is_done());
        assert_eq!(catch_up.mark(), None);
        waiting.await.unwrap();
    }
}
