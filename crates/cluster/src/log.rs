//! The log of a shard, as its store uses it.
//!
//! | module | content |
//! |---|---|
//! | `records` | the statements: each is one round trip, and says what is known after it |
//!
//! An append is one statement: it names the epoch and the place, so it is refused under any other
//! epoch and is never done twice. If its answer is lost, [`PgLog`] finds out what happened before it
//! returns: by a *barrier*, a write of its own under the same epoch. Once that was acknowledged,
//! everything read with it is durable, and whether the record is the last one says whether the append
//! was done.

mod records;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentry_core::Commit;
use agentry_core::cluster::{Epoch, ShardId};
use agentry_store::{Log, LogError, Mark, Position, Record, StoreError, Waits};
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

use self::records::{Barrier, Records};
use crate::{ClusterError, Settings};

/// The pauses while the database cannot be used. The first tries are for a connection that broke, the
/// last for a failover: the delay that they add to it is a small part of its own.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(20))
    .with_max_delay(Duration::from_millis(500))
    .without_max_times();

/// The largest record. PostgreSQL takes 1 GiB in a value, and needs a multiple of it in memory.
const MAX_RECORD: usize = 256 << 20;

/// The log of a shard in the cluster's database.
///
/// Its calls block the thread that makes them, which must be none of a tokio runtime: it moves the
/// connection's bytes itself while it waits, so that an answer wakes no other thread. Between two
/// calls nothing is read; the database does not mind.
#[derive(Debug)]
pub struct PgLog {
    shard: ShardId,
    waits: Waits,
    records: Mutex<Records>,
    /// Some until it is dropped.
    runtime: Option<Runtime>,
    lead: Option<Lead>,
    /// Which connection was seen last to be to the log that the store knows.
    connection: AtomicU64,
}

/// What a host that appends knows.
#[derive(Clone, Copy, Debug)]
struct Lead {
    epoch: Epoch,
    head: Position,
}

impl PgLog {
    /// Opens the log of a shard, to follow it or to [lead](Log::lead). It connects at the first call.
    ///
    /// # Errors
    /// The system gives no resources for a connection.
    pub fn open(
        settings: &Settings,
        shard: ShardId,
        waits: Waits,
    ) -> Result<Box<dyn Log>, LogError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Box::new(Self {
            shard,
            waits,
            records: Mutex::new(Records::new(settings, shard)),
            runtime: Some(runtime),
            lead: None,
            connection: AtomicU64::new(0),
        }))
    }

    /// Runs a call to its end on this thread.
    fn block_on<T>(&self, call: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(call),
            None => Err(LogError::Closing),
        }
    }

    /// Waits before another try, and says why. After the store has begun to close there is one more.
    async fn pause(
        &self,
        error: &dyn std::error::Error,
        pauses: &mut impl Iterator<Item = Duration>,
    ) -> Result<(), LogError> {
        if self.waits.is_closing() {
            return Err(LogError::Closing);
        }
        self.waits
            .waits(&format!("the log of shard {}: {error}", self.shard));
        tokio::select! {
            () = tokio::time::sleep(pauses.next().unwrap_or_default()) => {}
            () = self.waits.closing() => {}
        }
        Ok(())
    }

    /// Finds out by a barrier how the log is: the place of its last record, and the mark of the record
    /// at `at` if there is one. Returns only when that is certain.
    async fn settle(
        &self,
        epoch: Epoch,
        at: Position,
    ) -> Result<(Position, Option<Mark>), LogError> {
        let (mut pauses, mut is_elsewhere) = (PAUSES.build(), false);
        loop {
            let mut records = self.records.lock().await;
            match records.barrier(epoch, at).await {
                Ok(Barrier::Ours { head, mark }) => {
                    self.knows(&records);
                    if let Err(error) = records.prepare().await {
                        tracing::debug!(%error, "the first append will prepare itself");
                    }
                    return Ok((head, mark));
                }
                // This server does not know of our claim: it is one that was left behind in a
                // failover, if there is another that does.
                Ok(Barrier::Theirs { epoch: found }) if found < epoch && !is_elsewhere => {
                    is_elsewhere = true;
                    records.avoid();
                }
                Ok(Barrier::Theirs { .. }) => return Err(LogError::Fenced),
                Err(error) => {
                    drop(records);
                    self.pause(&error, &mut pauses).await?;
                }
            }
        }
    }

    async fn append(&self, lead: Lead, mark: Mark, text: &str) -> Result<(), LogError> {
        let (mut pauses, mut is_first) = (PAUSES.build(), true);
        loop {
            let tried = {
                let mut records = self.records.lock().await;
                let tried = records.append(lead.epoch, mark.at, text).await;
                self.knows(&records);
                tried
            };
            match tried {
                Ok(true) => return Ok(()),
                // The barrier says why it was refused.
                Ok(false) => {}
                // What happened can be found out at once.
                Err(error) if error.is_unknown() && is_first => {
                    is_first = false;
                    self.waits
                        .waits(&format!("the log of shard {}: {error}", self.shard));
                }
                Err(error) => self.pause(&error, &mut pauses).await?,
            }
            match self.settle(lead.epoch, mark.at).await? {
                (head, Some(found)) if head == mark.at && found == mark => return Ok(()),
                (head, _) if head == lead.head => {}
                (head, _) => {
                    return Err(LogError::Diverged {
                        at: lead.head,
                        what: format!(
                            "nobody but this host appends under epoch {}, and it ends at {head} instead of {}",
                            lead.epoch, lead.head
                        ),
                    });
                }
            }
        }
    }

    /// The log is known to be the store's.
    fn knows(&self, records: &Records) {
        self.connection
            .store(records.connections(), Ordering::Relaxed);
    }

    /// Whether the connection is still the one on which the log was known to be the store's.
    fn same(&self, records: &Records) -> Result<(), LogError> {
        let now = records.connections();
        let before = self.connection.swap(now, Ordering::Relaxed);
        if before != 0 && before != now {
            let what = "the connection was lost since the last call".to_owned();
            return Err(LogError::Unavailable(what));
        }
        Ok(())
    }
}

impl Log for PgLog {
    fn append(&mut self, group: &[&Commit]) -> Result<Mark, LogError> {
        let lead = self.lead.ok_or(LogError::Fenced)?;
        let (mark, text) = Record::encode(lead.head.next(), group)?;
        if text.len() > MAX_RECORD {
            let reason = format!(
                "a group of changes has {} bytes, and a cluster's log takes {MAX_RECORD} at most",
                text.len()
            );
            return Err(StoreError::TooMuch { reason }.into());
        }
        self.block_on(Self::append(self, lead, mark, &text))?;
        self.lead = Some(Lead {
            head: mark.at,
            ..lead
        });
        self.waits.stored();
        Ok(mark)
    }

    fn read(&self, after: Position, bytes: usize) -> Result<Vec<Record>, LogError> {
        self.block_on(async {
            let mut records = self.records.lock().await;
            let texts = records.read(after, bytes).await;
            self.same(&records)?;
            let (head, texts) = texts.map_err(|error| unavailable(&error))?;
            if texts.is_empty() {
                return match head > after {
                    true => Err(LogError::Trimmed { after }),
                    false => Ok(Vec::new()),
                };
            }
            // Their owner may still wait for the standby: a failover would lose what it shows already.
            records.prove().await.map_err(|error| unavailable(&error))?;
            self.same(&records)?;
            let mut expected = after;
            let mut read = Vec::with_capacity(texts.len());
            for (at, text) in texts {
                expected = expected.next();
                if at != expected {
                    return Err(if read.is_empty() {
                        LogError::Trimmed { after }
                    } else {
                        let what = "is missing, though later ones are there".to_owned();
                        LogError::Damaged { at: expected, what }
                    });
                }
                read.push(Record::decode(at, &text)?);
            }
            Ok(read)
        })
    }

    fn cut(&mut self, _: Position) -> Result<(), LogError> {
        Ok(())
    }

    fn check(&self, mark: &Mark) -> Result<(), LogError> {
        let diverged = |what: String| LogError::Diverged { at: mark.at, what };
        self.block_on(async {
            let mut records = self.records.lock().await;
            let found = records.mark(mark.at).await;
            // Whatever the log is now, this compares it.
            self.knows(&records);
            let (head, found) = found.map_err(|error| unavailable(&error))?;
            match found {
                _ if head < mark.at => {
                    Err(diverged(format!("it ends at {head}, before {}", mark.at)))
                }
                Some(found) if found != *mark => {
                    Err(diverged(format!("its record {} is another one", mark.at)))
                }
                _ => Ok(()),
            }
        })
    }

    fn lead(&mut self, epoch: Epoch) -> Result<(), LogError> {
        let (head, _) = self.block_on(self.settle(epoch, Position(0)))?;
        self.waits.stored();
        self.lead = Some(Lead { epoch, head });
        Ok(())
    }
}

impl Drop for PgLog {
    fn drop(&mut self) {
        // Unlike a drop, this may happen on any thread. What is under way ends with it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn unavailable(error: &ClusterError) -> LogError {
    LogError::Unavailable(error.to_string())
}
