//! Trying behaviours on the chain's history: what they would send, beside what was sent.
//!
//! The configured behaviours are shown the messages of some blocks, as the runtime would show them,
//! and nothing of what they ask for is done. A message is judged, opened, expired and answered by
//! the runtime's own code; the clock is that of the blocks; what behaviours remember begins empty
//! and stays in memory.
//!
//! What is other than in the runtime, since the past cannot be asked:
//!
//! - *Rates, budgets and priorities* do not apply: messages are shown in the order of the chain. A
//!   failure is tried again at once.
//! - *Fates* are those of what was sent: where a message that would be sent was sent (the same, or
//!   one of its kind in its place), its behaviour is told that it was mined and how it was
//!   acknowledged. What was not sent has no fate, and its behaviour hears nothing of it.
//! - *Tasks* are not done. What their ends would have a behaviour say is not compared, nor is what
//!   watchers would be told of a message that started one.
//! - *Answers* are waited for however many messages later they come, as far as some 200,000 that wait
//!   at the same time fit into memory. Beyond that the oldest are cut: they are not compared, and the
//!   summary counts them. What was sent and would not be (*extra*) is found among the last 4,096
//!   messages that wait for nothing.
//! - *Answers* to messages of before the first block are known as such only if there is a store that
//!   tells of them. It also tells which messages an operator asked for.
//! - *The directory* holds the cards of the replayed blocks, and those of the store that are older.
//!   To judge signatures, later cards' keys serve, too.
//! - *Status*: an agent's queues and tasks of then are not known; where a STATUS is compared they
//!   do not count.
//!
//! Handlers run for real: one that touches the world by itself, which it must not, does so here.
//!
//! | part | what it does |
//! |---|---|
//! | [`report`] | what is told |
//! | `engine` | the state of a replay, and its clock |
//! | `hear`, `own` | a message that came; a transaction that was sent |
//! | `act` | what a run of a behaviour comes to |
//! | `agenda` | timers, and acknowledgments that are waited for |
//! | `ledger` | which transaction belongs to which message |
//! | `said` | comparing two messages |
//! | `cast`, `past`, `world` | the agents; the store; what behaviours look up |
//! | `bounded` | what is remembered, within bounds |

mod act;
mod agenda;
mod bounded;
mod cast;
mod engine;
mod hear;
mod ledger;
mod own;
mod past;
pub mod report;
mod said;
#[cfg(test)]
mod tests;
mod world;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use agentry_chain::{
    ChainDb, ChainDbOptions, ChainEvent, ChainSource, Interest, SourceError, Start,
};
use agentry_protocol::BlockHeight;

use self::cast::Cast;
use self::engine::Engine;
use self::past::Past;
use self::report::{Report, Summary};
use self::world::Then;
use crate::config::{Config, HostError as AgentsError};
use crate::runtime::clock::Clock;
use crate::runtime::conduct::Stage;
use crate::runtime::directory::Directory;
use crate::runtime::host::{HostError, chain};
use crate::runtime::metrics::Metrics;
use crate::runtime::signer::SignError;
use crate::store::StoreError;

pub use self::said::Said;

/// How many transactions are read at a time.
const BATCH: usize = 500;

/// In how many blocks after the last one answers are still looked for.
const AFTER: u64 = 64;

/// How often reading is tried before it is given up.
const TRIES: u32 = 10;

/// The pause after a failed reading.
const PAUSE: Duration = Duration::from_millis(300);

/// Tries something that may fail because of a node that is away for a moment.
macro_rules! patiently {
    ($attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt.await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tracing::debug!(%error, "reading the chain; trying again");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                other => break other.map_err(ReplayError::Source),
            }
        }
    }};
}
/// What is to be replayed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The first block.
    pub from: BlockHeight,
    /// The last block; the chain's head, where `None`, or where the head is lower.
    pub to: Option<BlockHeight>,
    /// The agents, by name, wallet or address; all that have behaviours, where there are none.
    pub agents: Vec<String>,
    /// Whether sealed messages are opened, which takes the wallets' passwords.
    pub open_sealed: bool,
    /// Whether a password may be asked for on the terminal.
    pub prompt: bool,
}

/// What a replay tells while it goes on.
#[derive(Clone, Debug)]
pub enum Told {
    /// The blocks that are replayed: the first and the last.
    Begins {
        /// The first.
        from: BlockHeight,
        /// The last.
        to: BlockHeight,
    },
    /// The chain was read through this block.
    ReadThrough(BlockHeight),
    /// What would be sent because of a message, beside what was.
    Report(Box<Report>),
    /// Something that makes the result worth less.
    Warning(String),
}

/// Replays part of the chain and tells of it, in order; the one who is told may have it end. Must
/// be called within a tokio runtime with several threads: behaviours run there.
///
/// # Errors
/// [`ReplayError`].
pub async fn replay(
    config: &Config,
    options: &Options,
    tell: &mut dyn FnMut(Told) -> ControlFlow<()>,
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
            let warning = format!("the store is not made use of: {error}");
            if tell(Told::Warning(warning)).is_break() {
                return Ok(Summary::default());
            }
            Past::default()
        }
    };
    let mut source = source(config)?;
    let head = patiently!(source.head())?
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
        cast.players
            .keys()
            .map(|address| address.as_str().to_owned())
            .collect(),
    );
    let stage = Stage {
        workers: tokio::runtime::Handle::current(),
        clock: Clock::held(0),
        world: Arc::new(Then {
            directory: directory.clone(),
            roster: cast.roster.clone(),
        }),
        metrics: Arc::new(Metrics::new()),
    };
    let engine = Engine::new(stage, directory, config.chain.id.clone(), cast, past);
    let mut reel = Reel {
        source,
        engine,
        to,
        last: BlockHeight(to.0.saturating_add(AFTER).min(head.0)),
        head,
        at: None,
    };
    reel.engine.summary.from = options.from;
    reel.engine.summary.to = to;
    if tell(Told::Begins {
        from: options.from,
        to,
    })
    .is_continue()
    {
        reel.run(options.from, &interest, tell).await?;
    }
    Ok(reel.engine.summary)
}

/// The chain as it runs past.
struct Reel {
    source: Box<dyn ChainSource>,
    engine: Engine,
    to: BlockHeight,
    /// The last block in which answers are looked for.
    last: BlockHeight,
    /// The chain's head when the replay began.
    head: BlockHeight,
    /// The block that the clock shows.
    at: Option<BlockHeight>,
}

impl Reel {
    async fn run(
        &mut self,
        from: BlockHeight,
        interest: &dyn Interest,
        tell: &mut dyn FnMut(Told) -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        let start = Start::Height(from);
        let mut cursor = patiently!(self.source.begin(start))?;
        let mut idle = 0;
        loop {
            let batch = patiently!(self.source.read(&cursor, interest, BATCH))?;
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
                && tell(Told::ReadThrough(through.min(self.to))).is_break()
            {
                return Ok(());
            }
            if is_over {
                break;
            }
            // A block that the node cannot give at once is asked for again.
            idle = if moved || batch.more { 0 } else { idle + 1 };
            if idle > TRIES {
                let (at, to) = (through.unwrap_or_default(), self.last);
                return Err(ReplayError::Stuck { at, to });
            }
            if idle > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        // What is due before the last block is over.
        self.clock(self.to).await?;
        if self.last < self.head && self.engine.ledger.waits() {
            self.engine.warn(format!(
                "answers were looked for through block {}, and the chain goes on to {}: what is told \
                 as missing now may stand there; give a later --to",
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

    /// Sets the clock to the time of a block. One that does not tell its time counts as of the one
    /// before it.
    async fn clock(&mut self, height: BlockHeight) -> Result<(), ReplayError> {
        if self.at.is_some_and(|at| at >= height) {
            return Ok(());
        }
        self.at = Some(height);
        let time = patiently!(self.source.time(height))?;
        let now_ms = time.unwrap_or_else(|| self.engine.stage.clock.now_ms());
        self.engine.advance(now_ms, height).await;
        Ok(())
    }
}

/// What is read: what the configuration names, or the embedded node's own database.
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

/// What concerns the agents, and what anybody sends to himself: that may be his card.
struct Wanted(HashSet<String>);

impl Interest for Wanted {
    fn wants(&self, from: &str, to: &str) -> bool {
        from == to || self.0.contains(from) || self.0.contains(to)
    }
}

/// Why nothing can be replayed.
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
    /// The node does not give the blocks that it has.
    #[error(
        "the chain could be read through block {at} only, and not through {to}; try again when the node is well"
    )]
    Stuck {
        /// How far it was read.
        at: BlockHeight,
        /// How far it goes.
        to: BlockHeight,
    },
    /// Nobody is called so.
    #[error("no agent of the configuration is called {0:?}, or it has no wallet yet")]
    NoAgent(String),
    /// A wallet's address is not known without its password.
    #[error(
        "the wallet of agent {agent} does not state its address: replay it with --open-sealed, which unlocks it"
    )]
    NoAddress {
        /// Whose.
        agent: String,
    },
    /// There is nothing to try.
    #[error(
        "there is no agent with behaviours and a wallet to be replayed; see `agentry config show`"
    )]
    NoBehaviours,
    /// The agents and their wallets do not fit together.
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
    Store(#[from] StoreError),
    /// The chain cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// A defect: a thread panicked.
    #[error("a thread of the replay panicked; that is a defect, please report it")]
    Panicked,
}
