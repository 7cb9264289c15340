//! The simulated runtime: what the actors decide, on the state machine, without waiting for anything.
//!
//! Its memory is lost in a crash. What it appended to the log and did not sync may be lost, too.
//!
//! | module | what it does |
//! |---|---|
//! | this one | the log, the start, reading the chain |
//! | [`agent`] | handles messages and other events |
//! | [`tasks`] | runs tasks, and has them run by workers elsewhere |
//! | [`submit`] | signs, posts, and looks for what the node has lost |
//! | [`operate`] | what operators do |

mod agent;
mod operate;
mod submit;
mod tasks;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use agentry_core::absence::Mark;
use agentry_core::catch_up::Goal;
use agentry_core::commit::{
    Arrival, Changes, HostedAgent, Now, Observation, Outcome, OwnTransaction, Step,
};
use agentry_core::nonce::NonceManager;
use agentry_core::record;
use agentry_core::rows::{EventState, InboxState, OutboxState, TaskState};
use agentry_core::state::row::{Outgoing, outbox};
use agentry_core::{AgentId, Authenticity, Commit, OutboxId, SendResult, State, TaskId};
use agentry_protocol::{
    Address, BlockHeight, MessageDigest, MessageId, Timestamp, TransactionHash,
};
use serde::Deserialize as _;
use serde_json::json;

use super::chain::{Chain, FINAL_DEPTH, Transaction};
use super::peers::{self, FEE};
use super::record::Record;

pub(crate) use agent::How;
pub(crate) use submit::Answer;

/// What an agent may spend in a day.
pub(crate) const BUDGET: u64 = 6 * FEE;

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Broken(pub String);

/// Whether the promises were kept.
pub(crate) type Checked = Result<(), Broken>;

macro_rules! broken {
    ($($text:tt)*) => { return Err($crate::host::Broken(format!($($text)*))) };
}
pub(crate) use broken;

/// Where the transaction of an open row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It may be posted when so many commits are durable.
    Ready(usize),
    /// The node has it, or may have it.
    Posted,
}

pub(crate) struct Host {
    /// The wallets that it hosts.
    pub(crate) wallets: Range<usize>,
    pub(crate) state: State,
    /// The records that were appended to the log, one for each commit.
    pub(crate) log: Vec<Record>,
    /// How many of them are durable.
    pub(crate) durable: usize,
    /// Whether nobody knows what became of the last append.
    pub(crate) is_unsure: bool,
    /// Whether anything may be posted now.
    pub(crate) may_post: bool,
    /// The ids of the blocks that were read.
    read: Vec<u64>,
    /// The time of the last block that was read.
    confirmed: Timestamp,
    /// The runtime's own time when it started, and the true time then.
    started: (Timestamp, Timestamp),
    nonces: Box<dyn NonceManager>,
    marks: HashMap<OutboxId, Mark>,
    open: BTreeMap<OutboxId, Phase>,
    /// The head at the start, and the last row of the outbox, until that block is read.
    catching_up: Option<(Goal, OutboxId)>,
    /// The tasks that this process runs.
    running: BTreeSet<TaskId>,
    /// The attempts at tasks that workers elsewhere run.
    pub(crate) away: BTreeSet<(TaskId, u32)>,
    /// What agents have decided, and not stored yet.
    decided: BTreeMap<AgentId, Outcome>,
    /// How many ids were made.
    ids: u64,
    /// Whether a budget has paid for something that it was not asked for.
    pub(crate) overdrawn: bool,
}

impl Host {
    /// A runtime with an empty store, which is not started. Its ids differ from those of hosts with
    /// another number.
    pub(crate) fn new(wallets: Range<usize>, number: u64, chain: &Chain) -> Self {
        Self {
            wallets,
            state: State::default(),
            log: Vec::new(),
            durable: 0,
            is_unsure: false,
            may_post: true,
            read: Vec::new(),
            confirmed: Timestamp::EPOCH,
            started: (Timestamp::EPOCH, Timestamp::EPOCH),
            nonces: chain.nonces.manager([]),
            marks: HashMap::new(),
            open: BTreeMap::new(),
            catching_up: None,
            running: BTreeSet::new(),
            away: BTreeSet::new(),
            decided: BTreeMap::new(),
            ids: number << 48,
            overdrawn: false,
        }
    }

    fn agent(&self, wallet: usize) -> AgentId {
        let number = i64::try_from(wallet - self.wallets.start);
        AgentId(number.unwrap_or(i64::MAX) + 1)
    }

    fn wallet(&self, agent: AgentId) -> usize {
        let number = usize::try_from(agent.0 - 1);
        self.wallets.start + number.unwrap_or_default()
    }

    fn agents(&self) -> impl Iterator<Item = AgentId> {
        self.wallets.clone().map(|wallet| self.agent(wallet))
    }

    /// The agent of the wallet with this address, if it hosts that.
    fn hosted(&self, address: &Address) -> Option<AgentId> {
        let wallet = peers::hosted(address)?;
        self.wallets.contains(&wallet).then(|| self.agent(wallet))
    }

    /// The process ends, and another one starts with what is left of the log.
    pub(crate) fn restart(&mut self, left: usize, chain: &Chain, clocks: Clocks) -> Checked {
        self.end(left)?;
        self.start(chain, clocks)
    }

    /// The process ends, and the tables have what so many records say.
    pub(crate) fn end(&mut self, left: usize) -> Checked {
        self.is_unsure = false;
        self.away.clear();
        let mut log = std::mem::take(&mut self.log);
        log.truncate(left);
        self.state = State::default();
        self.durable = 0;
        self.follow(log)
    }

    /// Applies the next records of the log, which are durable.
    pub(crate) fn follow(&mut self, records: impl IntoIterator<Item = Record>) -> Checked {
        for record in records {
            let place = self.log.len() as u64 + 1;
            for commit in record.commits(place)? {
                match self.state.apply(commit) {
                    Ok(changes) => self.overdrawn |= !changes.recharged.is_empty(),
                    Err(failure) => {
                        broken!("{commit:?} was applied before, and fails now: {failure:?}")
                    }
                }
            }
            self.log.push(record);
        }
        // What the new process finds must be durable before it acts on it.
        self.durable = self.log.len();
        Ok(())
    }

    /// A bit of a record flips on the disk. Returns how many records are before it: a process reads
    /// these, and then refuses to go on.
    pub(crate) fn flip(&self, which: u8, bit: u16) -> Result<usize, Broken> {
        let at = usize::from(which) % self.log.len();
        let mut bytes = self.log[at].text().as_bytes().to_vec();
        let bit = usize::from(bit) % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        // What is no text is noticed without a checksum.
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(read) = record::decode(at as u64 + 1, &text)
        {
            broken!("a flipped bit goes unnoticed, and leads to {read:?}");
        }
        Ok(at)
    }

    /// The process begins to run what it has.
    pub(crate) fn start(&mut self, chain: &Chain, clocks: Clocks) -> Checked {
        let cursor = self.state.facts().cursor.clone();
        self.read = cursor.map_or_else(Vec::new, |cursor| Vec::deserialize(&*cursor).unwrap());
        self.confirmed = Timestamp::EPOCH;
        let noted = self.state.facts().time.unwrap_or(Timestamp::EPOCH);
        let shown = chain
            .blocks
            .last()
            .map_or(Timestamp::EPOCH, |block| block.time);
        self.started = (noted.max(clocks.local.min(shown)), clocks.time);
        self.marks.clear();
        self.running.clear();
        self.decided.clear();
        self.catching_up = None;
        let hosted = |number| HostedAgent {
            address: peers::address(number).clone(),
            name: format!("agent{number}"),
            start_height: BlockHeight(0),
        };
        let agents = self.wallets.clone().map(hosted).collect();
        self.commit(Commit::Host { agents }, clocks)?;
        self.plan(clocks)?;
        let last = self.state.agents().iter();
        let last = last.filter_map(|row| Some((row.id, row.last_nonce?)));
        self.nonces = chain.nonces.manager(last);
        let open = self.state.outbox().iter().filter(|row| row.is_open());
        self.open = open.map(|row| (row.id, Phase::Posted)).collect();
        let mark = self.state.outbox().iter().map(|row| row.id).max();
        self.catching_up = Some((Goal::to(chain.head()), mark.unwrap_or(OutboxId(0))));

        let pending = chain.mempool.iter().filter_map(|one| {
            Some(Step::Pending {
                agent: self.hosted(&one.stored.from)?,
                hash: one.hash,
                own: self.unknown(one),
                latest: self.now(clocks).max(clocks.local),
            })
        });
        let steps: Vec<_> = pending.collect();
        if !steps.is_empty() {
            self.observe(steps, None, clocks)?;
        }
        let working = self.state.tasks().iter();
        let working: Vec<_> = working
            .filter(|task| task.state == TaskState::Working)
            .map(|task| (task.id, task.attempts))
            .filter(|attempt| !self.away.contains(attempt))
            .collect();
        for (task, attempts) in working {
            self.commit(Commit::TaskInterrupt { task, attempts }, clocks)?;
        }
        Ok(())
    }

    /// The runtime's own time.
    fn now(&self, clocks: Clocks) -> Timestamp {
        let (own, then) = self.started;
        own.plus_ms(clocks.time.ms_since(then))
    }

    /// The last block that was read.
    pub(crate) fn read_through(&self) -> BlockHeight {
        BlockHeight(self.read.len() as u64)
    }

    /// Whether agents act: the chain is read up to its head at the start.
    pub(crate) fn acts(&self) -> bool {
        self.catching_up.is_none()
    }

    /// Applies a commit, and appends it to the log.
    fn commit(&mut self, commit: impl Borrow<Commit>, clocks: Clocks) -> Result<Changes, Broken> {
        let commit = commit.borrow();
        let changes = match self.state.apply(commit) {
            Ok(changes) => changes,
            Err(failure) => broken!("{commit:?} is refused: {failure:?}"),
        };
        let place = self.log.len() as u64 + 1;
        self.log.push(Record::of(place, commit));
        for sent in &changes.sends {
            let SendResult::Stored(id) = *sent else {
                continue;
            };
            let row = self.state.outbox().get(&id);
            if row.is_some_and(|row| row.state == OutboxState::Prepared) {
                self.open.insert(id, Phase::Ready(self.log.len()));
            }
        }
        for (id, _) in &changes.mined {
            self.forget(*id);
        }
        for reopened in &changes.reopened {
            self.open.insert(reopened.id, Phase::Posted);
        }
        for (agent, nonce) in &changes.nonces {
            self.nonces.spent(*agent, *nonce);
        }
        self.overdrawn |= !changes.recharged.is_empty();
        self.check_budgets(clocks)?;
        Ok(changes)
    }

    fn forget(&mut self, id: OutboxId) {
        self.open.remove(&id);
        self.marks.remove(&id);
    }

    fn check_budgets(&self, clocks: Clocks) -> Checked {
        if self.overdrawn {
            return Ok(());
        }
        for agent in self.agents() {
            let spent = self.spent(agent, clocks);
            if spent > BUDGET {
                broken!("agent {agent} has spent {spent} of {BUDGET} in a day");
            }
        }
        Ok(())
    }

    fn spent(&self, of: AgentId, clocks: Clocks) -> u64 {
        let day = self.now(clocks).day();
        let rows = self.state.spending().iter();
        rows.filter(|row| row.agent == of && row.day == day)
            .map(|row| row.spent.0)
            .sum()
    }

    fn observe(&mut self, steps: Vec<Step>, final_through: Option<u64>, clocks: Clocks) -> Checked {
        let observation = Observation {
            steps,
            cursor: json!(self.read),
            final_through: final_through.map(BlockHeight),
            catching_up: self.catching_up.as_ref().map(|(_, mark)| *mark),
            at: self.now(clocks),
        };
        self.commit(Commit::Observe(observation), clocks)?;
        Ok(())
    }

    fn caught_up(&mut self, withdrawn: bool, chain: &Chain) {
        let through = self.read_through();
        if let Some((goal, _)) = &mut self.catching_up
            && goal.read(through, withdrawn, through < chain.head())
        {
            self.catching_up = None;
        }
    }

    /// A hosted wallet's transaction, if the outbox does not know its hash.
    fn unknown(&self, transaction: &Transaction) -> Option<Box<OwnTransaction>> {
        let own = transaction.own.as_deref()?;
        let is_known = self.with_hash(transaction.hash).next().is_some();
        (!is_known).then(|| Box::new(OwnTransaction::from(own)))
    }

    /// The rows of the outbox with this hash.
    fn with_hash(&self, hash: TransactionHash) -> impl Iterator<Item = Arc<Outgoing>> {
        let with = |id| outbox::Index::Hash(hash, OutboxId(id));
        let outbox = self.state.outbox();
        outbox.range(with(i64::MIN)..=with(i64::MAX))
    }

    /// Reads the next blocks.
    pub(crate) fn read(&mut self, chain: &Chain, at_most: usize, clocks: Clocks) -> Checked {
        let same = self.read.iter().zip(&chain.blocks);
        let same = same.take_while(|(id, block)| **id == block.id).count();
        if same == chain.blocks.len() {
            // Nothing is new, or the chain is only shorter.
            self.caught_up(false, chain);
            return Ok(());
        }
        let mut steps = Vec::new();
        let is_withdrawn = self.read.len() > same;
        if is_withdrawn {
            let above = (same > 0).then_some(BlockHeight(same as u64));
            steps.push(Step::Withdrawn { above });
            self.read.truncate(same);
        }
        for block in chain.blocks.iter().skip(same).take(at_most) {
            self.read.push(block.id);
            self.confirmed = self.confirmed.max(block.time);
            let now = Now {
                earliest: self.confirmed,
                latest: self.now(clocks).max(self.confirmed),
            };
            for transaction in &block.transactions {
                self.classify(transaction, now, &mut steps);
            }
        }
        let through = self.read_through();
        let is_read = through.0.checked_sub(FINAL_DEPTH);
        self.observe(steps, is_read, clocks)?;
        if is_withdrawn {
            self.marks.clear();
        }
        self.caught_up(is_withdrawn, chain);
        Ok(())
    }

    fn classify(&self, transaction: &Transaction, now: Now, steps: &mut Vec<Step>) {
        let height = self.read_through();
        let stored = &transaction.stored;
        if let Some(agent) = self.hosted(&stored.from) {
            steps.push(Step::Sighting {
                agent,
                hash: transaction.hash,
                own: self.unknown(transaction),
                height,
                block_hash: None,
            });
        }
        if let Some(agent) = self.hosted(&stored.to) {
            let authenticity = if transaction.is_forged {
                Authenticity::Forged
            } else {
                peers::authenticity(&stored.from)
            };
            steps.push(Step::Arrival(Arrival::new(
                agent,
                transaction.hash,
                stored,
                height,
                authenticity,
                now,
            )));
        }
    }

    /// What was appended is durable.
    pub(crate) fn sync(&mut self) {
        self.durable = self.log.len();
    }

    fn id(&mut self, clocks: Clocks) -> MessageId {
        self.ids += 1;
        // Another process makes other ids.
        peers::id(self.now(clocks), self.ids ^ (self.started.1.get() << 20))
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = &self.state;
        let (mut messages, mut events) = (state.inbox().iter(), state.events().iter());
        let (mut outgoing, mut tasks) = (state.outbox().iter(), state.tasks().iter());
        self.acts()
            && messages.all(|row| row.state != InboxState::Waiting)
            && events.all(|row| row.state != EventState::Waiting)
            && outgoing.all(|row| !row.is_open() && row.state != OutboxState::Queued)
            && tasks.all(|row| row.ended_at.is_some())
            && state.receipts().iter().all(|row| row.due_at.is_none())
    }

    /// Whether what an agent sends for a message was refused for good.
    pub(crate) fn has_failed(&self, number: u32) -> bool {
        let failed = self.state.outbox().iter();
        let failed = failed.filter(|row| row.state == OutboxState::Failed);
        let mut texts = failed.filter_map(|row| peers::text(&row.payload));
        texts.any(|text| peers::number(&text) == Some(number))
    }

    /// Whether a message is in this state.
    pub(crate) fn is_in(&self, state: InboxState, digest: MessageDigest) -> bool {
        let mut inbox = self.state.inbox().iter();
        inbox.any(|row| row.digest == digest && row.state == state)
    }

    /// What is left to do.
    pub(crate) fn unfinished(&self) -> String {
        let messages = self.state.inbox().iter();
        let messages = messages.filter(|row| row.state == InboxState::Waiting);
        let events = self.state.events().iter();
        let events = events.filter(|row| row.state == EventState::Waiting);
        let outgoing = self.state.outbox().iter();
        let outgoing = outgoing
            .filter(|row| row.is_open() || row.state == OutboxState::Queued)
            .map(|row| (&row.origin, row.state, row.since, self.open.get(&row.id)));
        format!(
            "{:?}\n{:?}\n{:?}\n{:?}",
            messages.collect::<Vec<_>>(),
            events.collect::<Vec<_>>(),
            outgoing.collect::<Vec<_>>(),
            self.catching_up
        )
    }
}

/// The true time, and what the machine's clock shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) time: Timestamp,
    pub(crate) local: Timestamp,
}
