//! The state that all parts of a running devnet share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;

use crate::chain::{Chain, ChainError};
use crate::config::DevnetConfig;
use crate::dialect;
use crate::fault::{Fault, FaultSwitch};
use crate::follower::{FollowState, Leader};
use crate::producer::{self, MinedBlock, Produced};
use crate::rate::Calls;
use crate::rpc::push::Pushes;
use crate::rules::Refusal;

/// Counts for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rpc_requests: AtomicU64,
    pub(crate) transactions_accepted: AtomicU64,
    pub(crate) transactions_refused: AtomicU64,
    pub(crate) transactions_mined: AtomicU64,
    pub(crate) blocks_proposed: AtomicU64,
    pub(crate) blocks_imported: AtomicU64,
    pub(crate) reorganisations: AtomicU64,
    pub(crate) rate_limited: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// A node's shared state. The writer has its own lock, so that readers do not wait for it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: DevnetConfig,
    pub(crate) faults: FaultSwitch,
    pub(crate) counters: Counters,
    pub(crate) paused: AtomicBool,
    pub(crate) leader: Option<Leader>,
    pub(crate) follow: Mutex<FollowState>,
    /// Transactions that were forwarded to the leader and are not seen mined yet, each with the
    /// leader's height at which it was first missing there.
    pub(crate) forwarded: Mutex<HashMap<String, Option<u64>>>,
    chain: Mutex<Chain>,
    reader: Mutex<Connection>,
    rng: Mutex<StdRng>,
    /// The answers for accounts that the fault `stale-accounts` repeats.
    pub(crate) accounts: Mutex<HashMap<String, String>>,
    pub(crate) calls: Mutex<Calls>,
    pub(crate) pushes: Mutex<Pushes>,
}

/// Locks even after a thread panicked with the lock: every change is one SQLite transaction.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new(
        config: DevnetConfig,
        chain: Chain,
        reader: Connection,
        leader: Option<Leader>,
        seed: u64,
    ) -> Node {
        Node {
            faults: FaultSwitch::new(config.faults.clone()),
            paused: AtomicBool::new(!config.automatic),
            config,
            counters: Counters::default(),
            leader,
            follow: Mutex::default(),
            forwarded: Mutex::default(),
            chain: Mutex::new(chain),
            reader: Mutex::new(reader),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            accounts: Mutex::default(),
            calls: Mutex::default(),
            pushes: Mutex::default(),
        }
    }

    /// The writer.
    pub(crate) fn chain(&self) -> MutexGuard<'_, Chain> {
        lock(&self.chain)
    }

    /// Reads chain.db in one snapshot.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection, &str) -> Result<T, ChainError>,
    ) -> Result<T, ChainError> {
        let reader = lock(&self.reader);
        let snapshot = reader
            .unchecked_transaction()
            .map_err(|source| ChainError::Sqlite {
                doing: "beginning to read",
                source,
            })?;
        read(&snapshot, self.config.chain_id.as_str())
    }

    /// Whether the fault with that name strikes now.
    pub(crate) fn strikes(&self, name: &str) -> bool {
        match self.faults.current().get(name) {
            Some(
                Fault::Error500(probability)
                | Fault::Error429(probability)
                | Fault::Hang(probability)
                | Fault::LoseAnswer(probability),
            ) => lock(&self.rng).random_bool(probability.get()),
            Some(_) => true,
            None => false,
        }
    }

    /// Accepts a posted body. Returns the transaction's hash.
    pub(crate) fn submit(&self, body: &[u8]) -> Result<String, Refusal> {
        let faults = self.faults.current();
        let taken = dialect::read(body, &self.config, &faults)
            .and_then(|posted| dialect::admit(&mut self.chain(), posted, &self.config, &faults));
        match &taken {
            Ok(_) => add(&self.counters.transactions_accepted, 1),
            Err(refusal) => {
                tracing::debug!(%refusal, "transaction refused");
                add(&self.counters.transactions_refused, 1);
            }
        }
        taken
    }

    /// Produces a block now, and reorganises if that is due.
    pub(crate) fn produce(&self) -> Result<MinedBlock, ChainError> {
        self.produce_and_reorganise(&mut self.chain())
    }

    /// Produces a block, unless mining was paused before the writer was free.
    pub(crate) fn produce_unless_paused(&self) -> Result<Option<MinedBlock>, ChainError> {
        let mut chain = self.chain();
        if self.paused.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.produce_and_reorganise(&mut chain).map(Some)
    }

    fn produce_and_reorganise(&self, chain: &mut Chain) -> Result<MinedBlock, ChainError> {
        let block = self.produce_on(chain)?;
        let faults = self.faults.current();
        for fault in [faults.get("reorganise"), faults.get("reorganise-drop")]
            .into_iter()
            .flatten()
        {
            if let Fault::Reorganise { depth, at } | Fault::ReorganiseDrop { depth, at } = fault
                && block.height.0 >= at
            {
                self.faults.clear(fault.name());
                self.reorganise_on(chain, depth, matches!(fault, Fault::Reorganise { .. }))?;
            }
        }
        Ok(block)
    }

    fn produce_on(&self, chain: &mut Chain) -> Result<MinedBlock, ChainError> {
        let faults = self.faults.current();
        let Produced { block, row, mined } =
            producer::produce(chain, &self.config, &faults, &mut lock(&self.rng))?;
        lock(&self.pushes).push(chain.id.as_str(), &row, &mined);
        add(&self.counters.blocks_proposed, 1);
        add(&self.counters.transactions_mined, block.tx_count);
        tracing::debug!(height = block.height.0, hash = %block.hash, tx_count = block.tx_count, "block produced");
        Ok(block)
    }

    /// Replaces the last `depth` blocks by as many new ones.
    pub(crate) fn reorganise(&self, depth: u64, keep_orphans: bool) -> Result<(), ChainError> {
        self.reorganise_on(&mut self.chain(), depth, keep_orphans)
    }

    fn reorganise_on(
        &self,
        chain: &mut Chain,
        depth: u64,
        keep_orphans: bool,
    ) -> Result<(), ChainError> {
        let head = chain.head()?.ok_or(ChainError::Empty)?.height;
        let floor = head
            .checked_sub(depth)
            .ok_or(ChainError::TooDeep { depth, head })?;
        chain.roll_back_to(floor, keep_orphans)?;
        add(&self.counters.reorganisations, 1);
        tracing::warn!(
            depth,
            above = floor,
            keep_orphans,
            "the chain was reorganised"
        );
        for _ in 0..depth {
            self.produce_on(chain)?;
        }
        Ok(())
    }
}
