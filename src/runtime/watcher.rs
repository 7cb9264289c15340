//! ChainWatcher: the position on the chain.
//!
//! It promises that every transaction of the canonical chain that concerns a hosted wallet is
//! handed to the router at least once and in order, and that its stored position moves only
//! together with what was found on the way. It has one reading in hand at a time: while the router
//! and the store are busy, nothing more is read, so a long chain never fills the memory.

use std::time::{Duration, Instant};

use actix::prelude::*;
use agentry_chain::{Batch, ChainSource, Cursor, Interest, SourceError};

use super::Shared;
use super::roster::Roster;
use super::router::Route;
use super::submitter::ChainNews;
use crate::store::{Commit, read};

/// How many transactions one reading may bring. It bounds the memory that a reading takes
/// (transactions of at most 1 MB, and far below that as a rule) and the size of a commit.
const BATCH: usize = 500;

/// How long a position that moved over nothing of interest may stay unstored. A crash costs
/// reading those blocks again, a commit costs an fsync for every block of a quiet chain.
const POSITION_LAG: Duration = Duration::from_secs(1);

/// The first pause after a reading that failed; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause after readings that failed: what a recovery may take longer than the node's.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How long a reading over the network may take at first. One that takes longer is begun anew, and
/// with twice the time where the node answers at all: so a hung socket costs this long, and a slow
/// node is still read.
const MIN_PATIENCE: Duration = Duration::from_secs(1);

/// The longest that a reading over the network may take.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// The actor.
pub struct ChainWatcher {
    shared: Shared,
    roster: Roster,
    router: Recipient<Route>,
    submitter: Recipient<ChainNews>,
    state: Option<(Box<dyn ChainSource>, Cursor)>,
    networked: bool,
}

impl std::fmt::Debug for ChainWatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainWatcher").finish_non_exhaustive()
    }
}

impl ChainWatcher {
    /// A watcher that reads on from `cursor`. A source that is `networked` can hang.
    pub fn new(
        shared: Shared,
        roster: Roster,
        router: Recipient<Route>,
        submitter: Recipient<ChainNews>,
        source: Box<dyn ChainSource>,
        cursor: Cursor,
        networked: bool,
    ) -> Self {
        Self {
            shared,
            roster,
            router,
            submitter,
            state: Some((source, cursor)),
            networked,
        }
    }
}

impl Actor for ChainWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((source, cursor)) = self.state.take() else {
            return;
        };
        let watch = Watch {
            shared: self.shared.clone(),
            roster: self.roster.clone(),
            router: self.router.clone(),
            submitter: self.submitter.clone(),
            source,
            cursor,
            stored: Instant::now(),
            pause: MIN_PAUSE,
            patience: self.networked.then_some(MIN_PATIENCE),
        };
        ctx.spawn(watch.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

struct Watch {
    shared: Shared,
    roster: Roster,
    router: Recipient<Route>,
    submitter: Recipient<ChainNews>,
    source: Box<dyn ChainSource>,
    cursor: Cursor,
    stored: Instant,
    pause: Duration,
    /// How long a reading may take; however long it takes, where `None`.
    patience: Option<Duration>,
}

impl Watch {
    async fn run(mut self) {
        let mut stopping = self.shared.stopping.clone();
        while !self.shared.is_stopping() {
            let Some(read) = self.read().await else {
                continue;
            };
            let more = match read {
                Ok(batch) => {
                    self.pause = MIN_PAUSE;
                    self.shared.metrics.source_up(true);
                    let more = batch.more;
                    if !self.hand_over(batch).await {
                        continue;
                    }
                    more
                }
                Err(error) => {
                    self.report(&error);
                    if matches!(error, SourceError::OtherChain { .. }) {
                        self.halt(&error).await;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(self.pause) => {}
                        _ = stopping.changed() => {}
                    }
                    self.pause = (self.pause * 2).min(MAX_PAUSE);
                    continue;
                }
            };
            if !more {
                tokio::select! {
                    () = self.source.changed() => {}
                    _ = stopping.changed() => {}
                }
            }
        }
    }

    /// Reads on. `None`, if that took too long: then it is begun anew, with more patience.
    async fn read(&mut self) -> Option<Result<Batch, SourceError>> {
        let reading = self
            .source
            .read(&self.cursor, &self.roster as &dyn Interest, BATCH);
        let Some(patience) = self.patience else {
            return Some(reading.await);
        };
        let began = Instant::now();
        if let Ok(read) = tokio::time::timeout(patience, reading).await {
            if read.is_ok() {
                // Several times what it took: a long stretch is followed by others as long.
                self.patience = Some((began.elapsed() * 4).clamp(MIN_PATIENCE, MAX_PATIENCE));
            }
            return Some(read);
        }
        if self.shared.metrics.source_up(false) {
            tracing::warn!(?patience, "the node does not answer; trying again");
        }
        // More patience is for a node that is slow, not for one that hangs: what is given to that
        // one is how much later than the node the runtime is well again.
        let head = tokio::time::timeout(MIN_PATIENCE, self.source.head()).await;
        let is_slow = matches!(head, Ok(Ok(_)));
        self.patience = Some(if is_slow {
            (patience * 2).min(MAX_PATIENCE)
        } else {
            MIN_PATIENCE
        });
        None
    }

    /// Gives a reading to the router and waits until it is stored. Returns whether it is; if not,
    /// the same stretch is read again.
    async fn hand_over(&mut self, batch: Batch) -> bool {
        let moved = batch.cursor != self.cursor;
        if !moved && batch.events.is_empty() {
            return true;
        }
        let due = self.stored.elapsed() >= POSITION_LAG;
        let store_position = !batch.events.is_empty() || due;
        let cursor = batch.cursor.clone();
        let route = Route {
            batch,
            store_position,
        };
        match self.router.send(route).await {
            Ok(Ok(())) => {
                self.cursor = cursor;
                if store_position {
                    self.stored = Instant::now();
                }
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "what was read from the chain could not be stored; it is read again");
                tokio::time::sleep(self.pause).await;
                self.pause = (self.pause * 2).min(MAX_PAUSE);
                false
            }
            Err(MailboxError::Closed | MailboxError::Timeout) => {
                tokio::time::sleep(MIN_PAUSE).await;
                false
            }
        }
    }

    /// The chain was replaced by another: nothing is posted to that one, until an operator has
    /// looked into it.
    async fn halt(&self, error: &SourceError) {
        match self.shared.store.read(read::identity).await {
            Ok(identity) if identity.halted.is_some() => return,
            Ok(_) => {}
            Err(error) => return tracing::error!(%error, "reading whether posting is stopped"),
        }
        let reason = error.to_string();
        if let Err(error) = self
            .shared
            .store
            .commit(Commit::Halt {
                reason: reason.clone(),
            })
            .await
        {
            tracing::error!(%error, "storing that posting is stopped");
        }
        let news = ChainNews {
            halted: Some(reason),
            ..ChainNews::default()
        };
        if self.submitter.send(news).await.is_err() {
            tracing::debug!("the submitter has ended; it reads the store when it is back");
        }
    }

    /// Logs a failed reading: the first of a row as a warning, what follows quietly.
    fn report(&self, error: &SourceError) {
        if self.shared.metrics.source_up(false) {
            tracing::warn!(%error, "the chain cannot be read; trying again");
        } else {
            tracing::debug!(%error, "the chain still cannot be read");
        }
    }
}
