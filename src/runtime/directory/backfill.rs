//! The directory backfill: reading the part of the chain below the watched one for its cards.
//!
//! Agents begin at the head, so that old messages are not answered unasked. A directory that also
//! begins there learns of an agent only when the agent's card is renewed. With `[directory] from`
//! the blocks from that height on are read by a separate source, beside the watcher and with lower
//! priority: it pauses much longer than it reads, and examines only self-sent transactions.
//! The results are stored together with the position, so a restart continues there. The backfill
//! reads `final_depth` blocks further than the point where the watcher began, so that one of the
//! two sees a reorganisation of the blocks between them, whenever it happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_chain::{Batch, ChainEvent, ChainSource, Cursor, Interest, SourceError, Start};
use agentry_core::Commit;
use agentry_core::commit::{self, Step};
use agentry_protocol::{BlockHeight, ChainId, Timestamp};
use agentry_store::{Store, StoreError, read};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::card_of;
use crate::runtime::{Shared, backoff};

/// The most self-sent transactions that one reading may return.
const BATCH: usize = 500;

/// The time limit of a reading. A node that takes longer is considered hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// The bounds of a pause between two readings.
const REST: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// The pause after a reading, as a multiple of the reading's duration. Over RPC a reading takes the
/// node's time, of which the backfill may take only a small part, and a smaller one while others
/// take more than their share; reading a database takes none.
const RESTS: Rests = Rests {
    database: 2,
    node: 32,
    busy_node: 64,
};

/// The pauses between readings.
struct Rests {
    database: u32,
    node: u32,
    busy_node: u32,
}

/// The bounds of a pause after a failed reading.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How often the log reports the progress.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The transactions of interest: those that an address sent to itself.
#[derive(Debug, Clone, Copy)]
pub struct SelfSent;

impl Interest for SelfSent {
    fn wants(&self, from: &str, to: &str) -> bool {
        from == to
    }
}

/// A part of the chain whose cards have to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    from: BlockHeight,
    /// The first block that the watcher reads.
    to: BlockHeight,
    cursor: Option<Cursor>,
}

#[cfg(test)]
impl Plan {
    /// The range of blocks, and the progress in it.
    pub(super) fn span(&self) -> (BlockHeight, BlockHeight, Option<BlockHeight>) {
        let at = self.cursor.as_ref().and_then(Cursor::height);
        (self.from, self.to, at)
    }
}

/// The progress of the backfill, as the store keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    from: BlockHeight,
    to: BlockHeight,
    cursor: Cursor,
}

/// The progress in a range of lower blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its first block.
    pub from: BlockHeight,
    /// The first block after the range.
    pub to: BlockHeight,
    /// The last block that was read.
    pub at: Option<BlockHeight>,
}

/// The progress of the backfill, as the store keeps it.
pub fn standing(progress: &str) -> Option<Standing> {
    let progress: Progress = serde_json::from_str(progress).ok()?;
    Some(Standing {
        from: progress.from,
        to: progress.to,
        at: progress.cursor.height(),
    })
}

/// Records the height from which the watcher reads cards, and returns the range that remains to be
/// read, if `wanted` is lower. `watcher` is the position from which the watcher continues.
///
/// # Errors
/// The store cannot be read or written.
pub async fn plan(
    store: &Store,
    wanted: Option<BlockHeight>,
    watcher: &Cursor,
    now: Timestamp,
) -> Result<Option<Plan>, StoreError> {
    let surveyed = store.read(read::surveyed).await?;
    // The watcher continues here. Whether an earlier version read the blocks before it for cards is
    // unknown.
    let goes_on = watcher
        .height()
        .map_or(BlockHeight(0), BlockHeight::next)
        .max(watcher.origin());
    let known_from = surveyed.from.map_or(goes_on, |from| from.min(goes_on));
    let stored: Option<Progress> = surveyed
        .progress
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| StoreError::value("meta", "directory_progress", &error))?;
    let plan = match (wanted, stored) {
        (Some(wanted), Some(stored)) if stored.from == wanted => Some(Plan {
            from: wanted,
            to: stored.to,
            cursor: Some(stored.cursor),
        }),
        (Some(wanted), _) if wanted < known_from => Some(Plan {
            from: wanted,
            to: known_from,
            cursor: None,
        }),
        _ => None,
    };
    let keep = plan.as_ref().and_then(|plan| {
        let cursor = plan.cursor.clone()?;
        progress(plan.from, plan.to, cursor).ok()
    });
    if surveyed.from != Some(known_from) || keep.is_none() && surveyed.progress.is_some() {
        let note = commit::Backfill {
            progress: keep,
            known_from: Some(known_from),
            at: now,
            ..commit::Backfill::default()
        };
        store.commit(Commit::Backfill(note)).await?;
    }
    Ok(plan)
}

fn progress(
    from: BlockHeight,
    to: BlockHeight,
    cursor: Cursor,
) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::to_value(Progress { from, to, cursor })
}

/// A backfill in the background; dropping it ends the backfill.
#[derive(Debug)]
pub struct Backfill(JoinHandle<()>);

impl Drop for Backfill {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the backfill on the workers. A block `final_depth` deep is final.
pub fn serve(
    shared: Shared,
    plan: Plan,
    source: Box<dyn ChainSource>,
    chain: ChainId,
    final_depth: u64,
) -> Backfill {
    let workers = shared.workers.clone();
    let run = Run {
        shared,
        plan,
        source,
        chain,
        final_depth,
        cards: 0,
        gaps: 0,
        told: Instant::now(),
        complete: false,
    };
    Backfill(workers.spawn(run.run()))
}

struct Run {
    shared: Shared,
    plan: Plan,
    source: Box<dyn ChainSource>,
    chain: ChainId,
    final_depth: u64,
    cards: usize,
    gaps: usize,
    told: Instant,
    /// All blocks of the plan were read; the following ones are read in case of a reorganisation.
    complete: bool,
}

impl Run {
    async fn run(mut self) {
        let began = Instant::now();
        let mut stopping = self.shared.stopping.clone();
        let mut pauses = backoff::between(PAUSE);
        tracing::info!(
            from.height = self.plan.from.0,
            to.height = self.plan.to.0,
            at.height = self
                .plan
                .cursor
                .as_ref()
                .and_then(Cursor::height)
                .map(|at| at.0),
            "reading the blocks below the watched ones for the directory"
        );
        while !self.shared.is_stopping() {
            let reading = Instant::now();
            let rest = match self.step().await {
                Ok(Next::Over) => {
                    self.shared.metrics.directory_left(0);
                    tracing::debug!(took = ?began.elapsed(), "the directory backfill is complete");
                    return;
                }
                Ok(Next::More) => {
                    pauses = backoff::between(PAUSE);
                    Some((reading.elapsed() * self.rests()).clamp(REST.0, REST.1))
                }
                Ok(Next::Wait) => {
                    pauses = backoff::between(PAUSE);
                    None
                }
                Err(Problem::Final(error)) => {
                    tracing::error!(%error, "the directory backfill stopped");
                    return;
                }
                Err(Problem::Passing(reason)) => {
                    let pause = pauses.next().unwrap_or_default();
                    tracing::warn!(
                        reason,
                        ?pause,
                        "cannot read old blocks for the directory; trying again"
                    );
                    Some(pause)
                }
            };
            let changed = async {
                match rest {
                    Some(rest) => tokio::time::sleep(rest).await,
                    None => self.source.changed().await,
                }
            };
            tokio::select! {
                () = changed => {}
                _ = stopping.changed() => {}
            }
        }
    }

    /// The pause after a reading, as a multiple of the reading's duration.
    fn rests(&self) -> u32 {
        match self.source.nature().is_networked {
            true if self.source.is_over_its_share() => RESTS.busy_node,
            true => RESTS.node,
            false => RESTS.database,
        }
    }

    /// Performs one reading and stores it.
    async fn step(&mut self) -> Result<Next, Problem> {
        let before = match &self.plan.cursor {
            Some(cursor) => cursor.clone(),
            None => {
                let start = Start::Height(self.plan.from);
                limited(self.source.begin(start)).await?
            }
        };
        let batch = limited(self.source.read(&before, Arc::new(SelfSent), BATCH)).await?;
        let Batch {
            events,
            cursor,
            read_through,
            more,
            behind: _,
        } = batch;
        let moved = self.plan.cursor.as_ref() != Some(&cursor);
        let read = read_through.map(|head| head.height);
        let mut steps = self.judge(events).await?;
        // These blocks are read only to notice whether they are replaced: the watcher reports their
        // contents.
        let to = self.plan.to;
        steps.retain(|step| !matches!(step, Step::Card(card) if card.height >= to));
        let is_complete = read.is_some_and(|read| read.next() >= self.plan.to);
        let goal = self.plan.to.0.saturating_add(self.final_depth);
        let is_over = read.is_some_and(|read| read.0.saturating_add(1) >= goal);
        let known_from = (is_complete && !self.complete).then_some(self.plan.from);
        if !steps.is_empty() || moved || known_from.is_some() {
            let (found, gaps) = counts(&steps);
            let kept = progress(self.plan.from, self.plan.to, cursor.clone())
                .map_err(|error| Problem::Passing(format!("storing the position: {error}")))?;
            let note = commit::Backfill {
                steps,
                read_before: before
                    .height()
                    .and_then(|before| Some(before.min(to.checked_sub(1)?))),
                progress: Some(kept).filter(|_| !is_over),
                known_from,
                final_through: read.and_then(|read| read.checked_sub(self.final_depth)),
                at: self.shared.clock.now(),
            };
            let changes = self.shared.store.commit(Commit::Backfill(note)).await?;
            self.shared
                .directory
                .refresh(&self.shared.store, &changes.cards)
                .await?;
            self.shared.metrics.directory(self.shared.directory.len());
            self.cards += found;
            self.gaps += gaps;
        }
        self.plan.cursor = Some(cursor);
        self.tell(read, known_from.is_some());
        self.complete |= is_complete;
        Ok(match (is_over, more) {
            (true, _) => Next::Over,
            (false, true) => Next::More,
            (false, false) => Next::Wait,
        })
    }

    /// Verifies signatures on a thread for blocking work.
    async fn judge(&mut self, events: Vec<ChainEvent>) -> Result<Vec<Step>, Problem> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let (chain, now) = (self.chain.clone(), self.shared.clock.latest());
        self.shared
            .workers
            .spawn_blocking(move || {
                events
                    .into_iter()
                    .filter_map(|event| step_of(event, &chain, now))
                    .collect()
            })
            .await
            .map_err(|error| Problem::Passing(format!("verifying signatures: {error}")))
    }

    fn tell(&mut self, read: Option<BlockHeight>, is_complete: bool) {
        let left = read.map_or(self.plan.to.0.saturating_sub(self.plan.from.0), |read| {
            self.plan.to.0.saturating_sub(read.0.saturating_add(1))
        });
        self.shared.metrics.directory_left(left);
        if is_complete {
            tracing::info!(
                from.height = self.plan.from.0,
                cards = self.cards,
                "the directory covers the chain from here on"
            );
            if self.gaps > 0 {
                tracing::warn!(
                    blocks = self.gaps,
                    "blocks that could not be read completely are missing from the directory; `agentry queue list` counts them as gaps"
                );
            }
        } else if !self.complete && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            tracing::info!(
                at.height = read.map(|read| read.0),
                to.height = self.plan.to.0,
                blocks.left = left,
                cards = self.cards,
                "reading old blocks for the directory"
            );
        }
    }
}

/// The next step after a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// More blocks can be read immediately.
    More,
    /// More blocks follow with the next block of the chain.
    Wait,
    /// The backfill is complete.
    Over,
}

/// Why a reading failed.
enum Problem {
    /// A retry may succeed.
    Passing(String),
    /// A retry never succeeds.
    Final(SourceError),
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        if error.is_transient() {
            Self::Passing(error.to_string())
        } else {
            Self::Final(error)
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Passing(error.to_string())
    }
}

async fn limited<T>(reading: impl Future<Output = Result<T, SourceError>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(Problem::Passing("the node does not answer".to_owned())),
    }
}

fn step_of(event: ChainEvent, chain: &ChainId, now: Timestamp) -> Option<Step> {
    match event {
        ChainEvent::Transaction(seen) => {
            card_of(&seen.stored, seen.hash, seen.height, chain, now).map(Step::Card)
        }
        ChainEvent::Withdrawn { above, .. } => Some(Step::Withdrawn { above }),
        ChainEvent::Gap { height, reason } => {
            tracing::warn!(
                block.height = height.0,
                reason,
                "an old block cannot be read completely"
            );
            Some(Step::Gap { height, reason })
        }
        ChainEvent::GapFilled { height } => Some(Step::GapFilled { height }),
        // Whatever it is, it is not a card.
        ChainEvent::Undecodable { .. } => None,
    }
}

/// The number of cards and the number of gaps among these.
fn counts(steps: &[Step]) -> (usize, usize) {
    let cards = steps.iter().filter(|step| matches!(step, Step::Card(_)));
    let gaps = steps.iter().filter(|step| matches!(step, Step::Gap { .. }));
    (cards.count(), gaps.count())
}
