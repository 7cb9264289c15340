//! Running behaviours on the chain's history: compares what they would send with what was sent.
//!
//! The configured behaviours receive the messages of a range of blocks as they would from the
//! runtime, but nothing is sent and no task runs. The runtime's own code verifies, opens, expires and
//! answers messages, and its [state machine](agentry_core::state) decides what is due: it keeps what
//! behaviours remember, timers, the messages that were seen, and what is known about those that were
//! sent. It starts empty, in a [temporary file](agentry_store::Scratch). The clock follows the blocks.
//!
//! A replay differs from the runtime in these points:
//!
//! - *Rates, budgets and priorities* do not apply: messages are delivered in the order of the chain.
//!   A failure is retried at once. An agent with no room for more timers does not wait for it: that is
//!   a failure, too.
//! - *Delivery updates* come from what was sent. If a message that would be sent was sent (the same
//!   message, or one of the same kind in its place), its behaviour learns that it was mined and how
//!   it was acknowledged. For a message that was not sent, its behaviour gets no update. Each resend
//!   counts as mined as soon as it is due.
//! - *Tasks* are not run. What a behaviour would send after a task ends is not compared, nor is what
//!   watchers would be told of a message that started a task.
//! - *Answers* are matched however many messages later they come, as long as the messages that wait
//!   for answers fit into memory: about 200,000. Beyond that, the oldest are cut: they are not
//!   compared, and the summary counts them. Messages that were sent and would not be (*extra*) are
//!   found among the last 4,096 messages that wait for nothing.
//! - *Answers* to messages from before the first block are recognised only if the store has those
//!   messages. The store also has which messages an operator sent.
//! - *The directory* holds the cards of the replayed blocks, and older ones from the store. To verify
//!   signatures, the keys of later cards are used, too.
//! - *Status*: the past state of an agent's queues and tasks is unknown; the comparison of a STATUS
//!   ignores them.
//!
//! Handlers really run: a handler with side effects of its own, which it must not have, has them
//! here, too.
//!
//! | part | what it does |
//! |---|---|
//! | [`report`] | the results |
//! | `engine` | the state of a replay, its clock, and what is due |
//! | `hear`, `own` | received messages, and the events that follow; a sent transaction |
//! | `act` | a behaviour's run |
//! | `ledger` | matching transactions to messages |
//! | `said` | comparing two messages |
//! | `cast`, `past`, `environment` | the agents; the store; what behaviours look up |

mod act;
mod cast;
mod engine;
mod environment;
mod hear;
mod ledger;
mod own;
mod past;
pub mod report;
mod said;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainEvent, ChainSource, Interest, SourceError, Start,
};
use agentry_protocol::{BlockHeight, Timestamp};

use self::cast::Cast;
use self::engine::Engine;
use self::environment::ReplayEnvironment;
use self::past::Past;
use self::report::{Report, Summary};
use crate::config::{Config, HostError as AgentsError};
use crate::runtime::backoff;
use crate::runtime::clock::Clock;
use crate::runtime::directory::Directory;
use crate::runtime::host::{HostError, chain};
use crate::runtime::metrics::Metrics;
use crate::runtime::runner::Stage;
use crate::runtime::signer::SignError;
use agentry_store::StoreError;

pub use self::said::ComparedMessage;

/// How many transactions are read in one batch.
const BATCH: usize = 500;

/// How many blocks after the last one are searched for answers.
const AFTER: u64 = 64;

/// How often a failed read is repeated before the replay fails.
const TRIES: usize = 10;

/// The bounds of the pause before that.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// Retries an operation that fails while the node is temporarily unavailable.
macro_rules! retrying {
    ($attempt:expr) => {{
        let mut pauses = backoff::between(PAUSE).take(TRIES);
        loop {
            match $attempt.await {
                Err(error) if error.is_transient() && let Some(pause) = pauses.next() => {
                    tracing::debug!(%error, "reading the chain failed; retrying");
                    tokio::time::sleep(pause).await;
                }
                other => break other.map_err(ReplayError::Source),
            }
        }
    }};
}

/// What to replay.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The first block.
    pub from: BlockHeight,
    /// The last block; the chain's head if `None` or if the head is lower.
    pub to: Option<BlockHeight>,
    /// The agents, by name, wallet or address; if empty, all agents that have behaviours.
    pub agents: Vec<String>,
    /// Whether to open sealed messages, which needs the wallets' passwords.
    pub open_sealed: bool,
    /// Whether to ask for a password on the terminal.
    pub prompt: bool,
}

/// An event of a running replay.
#[derive(Clone, Debug)]
pub enum ReplayEvent {
    /// The replay begins, with these blocks.
    Begins {
        /// The first block.
        from: BlockHeight,
        /// The last block.
        to: BlockHeight,
    },
    /// The chain has been read through this block.
    ReadThrough(BlockHeight),
    /// What would be sent because of an event, compared with what was sent.
    Report(Box<Report>),
    /// Something that makes the result less reliable.
    Warning(String),
}

/// Replays part of the chain and reports the results in order; `tell` may end the replay. Must be
/// called within a multi-threaded tokio runtime, on which the behaviours run.
///
/// # Errors
/// [`ReplayError`].
pub async fn replay(
    config: &Config,
    options: &Options,
    tell: &mut dyn FnMut(ReplayEvent) -> ControlFlow<()>,
) -> Result<Summary, ReplayError> {
    if let Some(to) = options.to.filter(|to| *to < options.from) {
        let from = options.from;
        return Err(ReplayError::Backwards { from, to });
    }
    let (cast, past) = {
        let (config, options) = (config.clone(), options.clone());
        let assemble = move || {
            let cast = Cast::assemble(&config, &options)?;
            Ok::<_, ReplayError>((cast, Past::open(&config.store.path)))
        };
        let assembled = tokio::task::spawn_blocking(assemble).await;
        assembled.map_err(|_| ReplayError::Panicked)??
    };
    let past = match past {
        Ok(past) => past,
        Err(error) => {
            let warning = format!("the store cannot be read and is not used: {error}");
            if tell(ReplayEvent::Warning(warning)).is_break() {
                return Ok(Summary::default());
            }
            Past::default()
        }
    };
    let mut source = source(config)?;
    let head = retrying!(source.head())?
        .ok_or(ReplayError::NoBlock)?
        .height;
    if options.from > head {
        let from = options.from;
        return Err(ReplayError::Beyond { from, head });
    }
    let to = options.to.map_or(head, |to| to.min(head));
    let directory = Directory::default();
    directory.set_contacts(config.contacts.clone());
    for card in &past.cards {
        if card.height < options.from {
            directory.put(card.clone());
        }
    }
    let interest = Wanted(
        cast.replayed
            .keys()
            .map(|address| address.as_str().to_owned())
            .collect(),
    );
    let stage = Stage {
        workers: tokio::runtime::Handle::current(),
        clock: Clock::held(Timestamp::EPOCH),
        environment: Arc::new(ReplayEnvironment {
            directory: directory.clone(),
            registry: cast.registry.clone(),
        }),
        metrics: Arc::new(Metrics::new()),
    };
    let engine = Engine::new(stage, directory, config.chain.chain(), cast, past)?;
    let mut replayer = Replayer {
        source,
        engine,
        to,
        last: BlockHeight(to.0.saturating_add(AFTER).min(head.0)),
        head,
        at: None,
    };
    replayer.engine.summary.from = options.from;
    replayer.engine.summary.to = to;
    if tell(ReplayEvent::Begins {
        from: options.from,
        to,
    })
    .is_continue()
    {
        replayer.run(options.from, Arc::new(interest), tell).await?;
    }
    Ok(replayer.engine.summary)
}

/// The reader of the chain, which drives the engine.
struct Replayer {
    source: Box<dyn ChainSource>,
    engine: Engine,
    to: BlockHeight,
    /// The last block that is searched for answers.
    last: BlockHeight,
    /// The chain's head when the replay began.
    head: BlockHeight,
    /// The block whose time the clock has.
    at: Option<BlockHeight>,
}

impl Replayer {
    async fn run(
        &mut self,
        from: BlockHeight,
        interest: Arc<dyn Interest>,
        tell: &mut dyn FnMut(ReplayEvent) -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        let start = Start::Height(from);
        let mut cursor = retrying!(self.source.begin(start))?;
        let mut pauses = backoff::between(PAUSE).take(TRIES);
        loop {
            let batch = retrying!(self.source.read(&cursor, Arc::clone(&interest), BATCH))?;
            let through = batch.read_through.as_ref().map(|head| head.height);
            let moved = batch.cursor != cursor;
            cursor = batch.cursor;
            for event in batch.events {
                self.event(event).await?;
                for told in self.engine.told() {
                    if tell(told).is_break() {
                        return Ok(());
                    }
                }
            }
            let is_over = through.is_some_and(|through| through >= self.last);
            if let Some(through) = through
                && tell(ReplayEvent::ReadThrough(through.min(self.to))).is_break()
            {
                return Ok(());
            }
            if is_over {
                break;
            }
            // A block that the node cannot deliver at once is requested again.
            if moved || batch.more {
                pauses = backoff::between(PAUSE).take(TRIES);
            } else if let Some(pause) = pauses.next() {
                tokio::time::sleep(pause).await;
            } else {
                let (at, to) = (through.unwrap_or_default(), self.last);
                return Err(ReplayError::Stuck { at, to });
            }
        }
        // Items that are due by the time of the last block.
        self.clock(self.to).await?;
        if self.last < self.head && self.engine.ledger.waits() {
            self.engine.warn(format!(
                "answers were searched for through block {}, but the chain continues to block {}: \
                 messages reported as missing from here on may be there; give a later --to",
                self.last, self.head
            ));
        }
        for told in self.engine.finish() {
            if tell(told).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn event(&mut self, event: ChainEvent) -> Result<(), ReplayError> {
        match event {
            ChainEvent::Transaction(seen) if seen.height <= self.last => {
                let is_after = seen.height > self.to;
                self.clock(seen.height.min(self.to)).await?;
                self.engine.transaction(&seen, is_after).await
            }
            ChainEvent::Transaction(_) => Ok(()),
            ChainEvent::Withdrawn { above, .. } => {
                if above.is_none_or(|above| above < self.last) {
                    return Err(ReplayError::Reorganised);
                }
                Ok(())
            }
            ChainEvent::Undecodable {
                height,
                count,
                first,
            } => {
                if height <= self.to {
                    let reason = first.first().map_or("", |row| row.reason.as_str());
                    self.engine.warn(format!(
                        "block {height}: {count} transactions cannot be decoded; the first: {reason}"
                    ));
                }
                Ok(())
            }
            ChainEvent::Gap { height, reason } => {
                if height <= self.to {
                    self.engine.summary.gaps += 1;
                    self.engine
                        .warn(format!("block {height} cannot be read whole: {reason}"));
                }
                Ok(())
            }
            ChainEvent::GapFilled { .. } => Ok(()),
        }
    }

    /// Sets the clock to the time of a block. A block without a time counts as having the time of
    /// the block before it.
    async fn clock(&mut self, height: BlockHeight) -> Result<(), ReplayError> {
        if self.at.is_some_and(|at| at >= height) {
            return Ok(());
        }
        self.at = Some(height);
        let time = retrying!(self.source.time(height))?;
        let now = time.unwrap_or_else(|| self.engine.stage.clock.now());
        self.engine.advance(now, height).await
    }
}

/// The source of blocks: the configured one, or the embedded node's database.
fn source(config: &Config) -> Result<Box<dyn ChainSource>, ReplayError> {
    let Some(table) = &config.devnet else {
        return Ok(chain::source(&config.chain, &chain::nodes(&config.chain)?)?);
    };
    let path = table.dir.join("chain.db");
    if !path.exists() {
        return Err(ReplayError::NoBlock);
    }
    let id = config.chain.id.clone();
    let source = ChainDb::open(&path, id, ChainDbOptions::default());
    Ok(Box::new(source.map_err(ReplayError::Source)?))
}

/// The agents' transactions, and every transaction from an address to itself, which may be a card.
struct Wanted(HashSet<String>);

impl Interest for Wanted {
    fn wants(&self, from: &str, to: &str) -> bool {
        from == to || self.0.contains(from) || self.0.contains(to)
    }
}

/// Why a replay fails.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The chain ends before the first block.
    #[error("--from {from} is beyond the chain's head, which is {head}")]
    Beyond {
        /// The first block.
        from: BlockHeight,
        /// The head.
        head: BlockHeight,
    },
    /// The last block is below the first.
    #[error("--to {to} is below --from {from}")]
    Backwards {
        /// The first block.
        from: BlockHeight,
        /// The last block.
        to: BlockHeight,
    },
    /// There is no chain.
    #[error(
        "the chain has no block yet: nothing can be replayed; start `agentry run` first, or name the right node"
    )]
    NoBlock,
    /// The chain changed while it was read.
    #[error("the chain was reorganised while it was read; replay it again")]
    Reorganised,
    /// The node does not deliver all of its blocks.
    #[error(
        "the chain could be read only through block {at}, and not through {to}; try again when the node is healthy"
    )]
    Stuck {
        /// The last block that was read.
        at: BlockHeight,
        /// The last block to read.
        to: BlockHeight,
    },
    /// There is no such agent.
    #[error("the configuration has no agent named {0:?}, or the agent has no wallet yet")]
    NoAgent(String),
    /// A wallet's address is not known without its password.
    #[error(
        "the wallet of agent {agent} does not state its address: replay it with --open-sealed, which unlocks it"
    )]
    NoAddress {
        /// The agent.
        agent: String,
    },
    /// No agent has behaviours to replay.
    #[error("no agent to replay has both behaviours and a wallet; see `agentry config show`")]
    NoBehaviours,
    /// The agents and their wallets cannot be hosted together.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// A wallet or the node cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A wallet cannot be unlocked.
    #[error(transparent)]
    Unlock(SignError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(StoreError),
    /// The state of the replay cannot be kept.
    #[error("the temporary file of the replay cannot be used: {0}")]
    State(#[from] StoreError),
    /// The chain cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// A thread panicked, which is a bug.
    #[error("a thread of the replay panicked; this is a bug, please report it")]
    Panicked,
}
