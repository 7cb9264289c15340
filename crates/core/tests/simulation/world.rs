//! A schedule: what happens, one step after the other, and what must hold after it.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::nonce::NoncePolicy;
use agentry_core::state::row::Outgoing;
use agentry_protocol::timestamp::DAY_MS;
use agentry_protocol::{
    Address, BlockHeight, Header, MessageDigest, Nonce, Timestamp, TransactionHash,
};
use proptest::prelude::*;

use super::chain::{Chain, FINAL_DEPTH, Transaction};
use super::cluster::Cluster;
use super::cluster::log::AppendOutcome;
use super::defect::Defect;
use super::host::{Answer, BUDGET, Checked, Clocks, Host, How, broken};
use super::peers::{self, FEE, HOSTED, Kind, PEERS};

/// One step of a schedule. Numbers choose among what is possible at that time.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A peer posts a message.
    Say {
        peer: u8,
        to: u8,
        kind: u8,
        has_id: bool,
    },
    /// A peer posts a message that expires, in seconds.
    SayBriefly { to: u8, kind: u8, within: u8 },
    /// Somebody posts a message in the name of a peer.
    Forge { to: u8, kind: u8 },
    /// An operator sends a message from one hosted wallet to another.
    Send { from: u8, kind: u8 },
    /// Another program sends from a hosted wallet, with the next nonce of its account.
    Overtake(u8),
    /// Somebody posts a peer's transaction again.
    Replay(u8),
    /// A peer acknowledges a message that asked for it.
    Acknowledge(u8),
    /// The node mines some of its pending transactions.
    Mine(u8),
    /// The node forgets one of them.
    Lose(u8),
    /// Other blocks take the place of the last ones.
    Reorganise { depth: u8, blocks: u8, places: u16 },
    /// The runtime reads some blocks.
    Read(u8),
    /// It handles one of the events that are due.
    Handle { which: u8, sign: bool, late: bool },
    /// It stores what behaviours have decided before.
    Store,
    /// It starts or ends a task.
    Work { which: u8, fails: bool },
    /// It signs some drafts.
    Sign(u8),
    /// It posts a transaction.
    Post { which: u8, answer: u8 },
    /// It looks for what the node has lost; a block may be mined meanwhile.
    Look { mines: bool },
    /// What it appended to the log is durable.
    Sync,
    /// It ends, and some of what is not durable is lost.
    Crash(u8),
    /// It is stopped, and its store replaced by an older copy.
    Restore(u8),
    /// A bit of its log flips while it is stopped.
    Flip { which: u8, bit: u16 },
    /// Time passes, in steps of a second.
    Wait(u8),
    /// The machine's clock is set, by minutes.
    SetClock(i8),
    /// It deletes what is old.
    Prune,
    /// An operator drops a message or a transaction.
    Drop(u8),
    /// An operator retries dead letters and failed transactions.
    Retry,
    /// An operator grants an effect that waits for approval.
    Grant(u8),
}

impl Action {
    /// Whether it is a host that does it.
    pub(crate) fn is_of_host(&self) -> bool {
        match self {
            Self::Send { .. }
            | Self::Read(_)
            | Self::Handle { .. }
            | Self::Store
            | Self::Work { .. }
            | Self::Sign(_)
            | Self::Post { .. }
            | Self::Look { .. }
            | Self::Sync
            | Self::Crash(_)
            | Self::Restore(_)
            | Self::Flip { .. }
            | Self::Prune
            | Self::Drop(_)
            | Self::Retry
            | Self::Grant(_) => true,
            Self::Say { .. }
            | Self::SayBriefly { .. }
            | Self::Forge { .. }
            | Self::Overtake(_)
            | Self::Replay(_)
            | Self::Acknowledge(_)
            | Self::Mine(_)
            | Self::Lose(_)
            | Self::Reorganise { .. }
            | Self::Wait(_)
            | Self::SetClock(_) => false,
        }
    }
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let some = any::<u8>;
    prop_oneof![
        10 => (some(), some(), some(), any::<bool>()).prop_map(|(peer, to, kind, has_id)| {
            Action::Say { peer, to, kind, has_id }
        }),
        1 => (some(), some(), some()).prop_map(|(to, kind, within)| {
            Action::SayBriefly { to, kind, within }
        }),
        1 => (some(), some()).prop_map(|(to, kind)| Action::Forge { to, kind }),
        2 => (some(), some()).prop_map(|(from, kind)| Action::Send { from, kind }),
        1 => some().prop_map(Action::Overtake),
        2 => some().prop_map(Action::Replay),
        3 => some().prop_map(Action::Acknowledge),
        12 => some().prop_map(Action::Mine),
        2 => some().prop_map(Action::Lose),
        4 => (some(), some(), any::<u16>()).prop_map(|(depth, blocks, places)| {
            Action::Reorganise { depth: depth % 4, blocks, places }
        }),
        14 => some().prop_map(Action::Read),
        18 => (some(), any::<bool>(), 0_u8..4).prop_map(|(which, sign, late)| {
            Action::Handle { which, sign, late: late == 0 }
        }),
        5 => Just(Action::Store),
        4 => (some(), any::<bool>()).prop_map(|(which, fails)| Action::Work { which, fails }),
        6 => some().prop_map(Action::Sign),
        10 => (some(), some()).prop_map(|(which, answer)| Action::Post { which, answer }),
        8 => any::<bool>().prop_map(|mines| Action::Look { mines }),
        8 => Just(Action::Sync),
        3 => some().prop_map(Action::Crash),
        1 => some().prop_map(Action::Restore),
        1 => (some(), any::<u16>()).prop_map(|(which, bit)| Action::Flip { which, bit }),
        4 => some().prop_map(Action::Wait),
        1 => any::<i8>().prop_map(Action::SetClock),
        1 => Just(Action::Prune),
        1 => some().prop_map(Action::Drop),
        1 => Just(Action::Retry),
        4 => some().prop_map(Action::Grant),
    ]
}

/// Runs a schedule, lets everything come to an end, and checks what must hold.
pub(crate) fn run(nonces: NoncePolicy, schedule: &[Action]) -> Checked {
    let mut world = World::new(nonces);
    world.hosts = vec![Host::new(0..HOSTED, 0, &world.chain)];
    world.live = vec![0];
    let clocks = world.clocks();
    world.hosts[0].start(&world.chain, clocks)?;
    for action in schedule {
        world.step(action)?;
        world.check()?;
    }
    world.settle()?;
    world.check_end()
}

/// When the simulation begins: in November 2026.
const START: Timestamp = Timestamp::new(1_795_000_000_000);

/// A simulation in progress.
pub(crate) struct World {
    pub(crate) time: Timestamp,
    /// How far the machine's clock is ahead of the true time, in milliseconds.
    pub(crate) ahead: i64,
    pub(crate) chain: Chain,
    pub(crate) hosts: Vec<Host>,
    /// Which of them the present step concerns.
    pub(crate) current: usize,
    /// Those whose work counts: each wallet is hosted by one of them.
    pub(crate) live: Vec<usize>,
    pub(crate) cluster: Cluster,
    /// The rule that the hosts break.
    pub(crate) defect: Option<Defect>,
    pub(crate) said: u32,
    /// The transactions of peers, to be replayed.
    pub(crate) posted: Vec<Transaction>,
    /// The transactions of another program, which posts them again if they are lost: later ones of
    /// the wallet wait for their nonces.
    others: Vec<Transaction>,
    /// The digest that each wallet has posted with each nonce.
    pub(crate) nonces: BTreeMap<(Address, Nonce), MessageDigest>,
    /// The digests that each wallet has posted, by the day whose budget has paid.
    pub(crate) spent: BTreeMap<(Address, u64), BTreeSet<MessageDigest>>,
    /// What was posted for each row of the outbox, by its origin.
    pub(crate) origins: BTreeMap<String, MessageDigest>,
    /// Whether the store was replaced by an older copy.
    pub(crate) is_restored: bool,
    /// The numbers of the messages that an operator has sent.
    pub(crate) sent: BTreeSet<u32>,
    /// The numbers of the messages that expire, that are forged, and that an operator has dropped.
    pub(crate) brief: BTreeSet<u32>,
    pub(crate) forged: BTreeSet<u32>,
    pub(crate) dropped: BTreeSet<u32>,
    /// What the node has refused for good.
    refused: BTreeSet<MessageDigest>,
    /// The origins of what an operator has granted.
    granted: BTreeSet<String>,
    pub(crate) is_pruned: bool,
    pub(crate) is_replayed: bool,
    pub(crate) is_reorganised: bool,
    /// The numbers of the messages that somebody has posted again under another hash.
    pub(crate) respelled: BTreeSet<u32>,
}

impl World {
    /// A world without hosts.
    pub(crate) fn new(nonces: NoncePolicy) -> Self {
        let mut chain = Chain::new(nonces);
        chain.mine(START, 0);
        Self {
            time: START,
            ahead: 0,
            hosts: Vec::new(),
            current: 0,
            live: Vec::new(),
            cluster: Cluster::default(),
            defect: None,
            chain,
            said: 0,
            posted: Vec::new(),
            others: Vec::new(),
            nonces: BTreeMap::new(),
            spent: BTreeMap::new(),
            origins: BTreeMap::new(),
            is_restored: false,
            sent: BTreeSet::new(),
            brief: BTreeSet::new(),
            forged: BTreeSet::new(),
            dropped: BTreeSet::new(),
            refused: BTreeSet::new(),
            granted: BTreeSet::new(),
            is_pruned: false,
            is_replayed: false,
            is_reorganised: false,
            respelled: BTreeSet::new(),
        }
    }

    pub(crate) fn follows_counter(&self) -> bool {
        self.chain.nonces == NoncePolicy::Sequential
    }

    pub(crate) fn clocks(&self) -> Clocks {
        Clocks {
            time: self.time,
            local: Timestamp::new(self.time.get().saturating_add_signed(self.ahead)),
        }
    }

    pub(crate) fn step(&mut self, action: &Action) -> Checked {
        self.time = self.time.plus_ms(1);
        let clocks = self.clocks();
        match *action {
            Action::Say {
                peer,
                to,
                kind,
                has_id,
            } => {
                let header = has_id.then(|| self.header());
                let message = self.message(peer, to, Kind::of(kind), header.as_ref());
                self.posted.push(message.clone());
                self.chain.post(message);
            }
            Action::SayBriefly { to, kind, within } => {
                let header = Header {
                    exp: Some(self.time.plus_ms(u64::from(within) * 1_000)),
                    ..self.header()
                };
                let message = self.message(0, to, Kind::of(kind), Some(&header));
                self.brief.insert(self.said);
                self.chain.post(message);
            }
            Action::Forge { to, kind } => {
                let mut message = self.message(0, to, Kind::of(kind), None);
                message.is_forged = true;
                self.forged.insert(self.said);
                self.chain.post(message);
            }
            Action::Send { from, kind } => {
                self.said += 1;
                self.sent.insert(self.said);
                let wallets = self.hosts[self.current].wallets.clone();
                let from = wallets.start + usize::from(from) % wallets.len();
                self.hosts[self.current].send(from, Kind::of(kind), self.said, clocks)?;
            }
            Action::Overtake(which) if self.follows_counter() => self.overtake(which),
            Action::Overtake(_) => {}
            Action::Replay(which) => self.replay(which),
            Action::Acknowledge(which) => self.acknowledge(which),
            Action::Mine(count) => self.chain.mine(self.time, usize::from(count % 8)),
            Action::Lose(which) => self.chain.lose(which),
            // What is pending then is not looked at any more.
            Action::Reorganise { .. } if self.is_restored && !self.hosts[self.current].acts() => {}
            // A restored store does not post again what it has only seen on the chain, or not at all:
            // once a reorganisation has lost that, later ones of its wallet wait for its nonce.
            Action::Reorganise { .. } if self.is_restored && self.follows_counter() => {}
            Action::Restore(_) | Action::Flip { .. }
                if self.is_reorganised && self.follows_counter() => {}
            Action::Reorganise {
                depth,
                blocks,
                places,
            } => {
                self.is_reorganised = true;
                self.chain.reorganise(depth, blocks, places, self.time);
            }
            Action::Read(count) => {
                let count = usize::from(count % 4) + 1;
                self.hosts[self.current].read(&self.chain, count, clocks)?;
            }
            Action::Handle { which, sign, late } => {
                let how = How {
                    signs: sign,
                    is_late: late,
                };
                self.hosts[self.current].handle(which, how, clocks)?;
            }
            Action::Store => self.hosts[self.current].store_decided(clocks)?,
            Action::Work { which, fails } => {
                self.hosts[self.current].work(which, fails, clocks)?;
            }
            Action::Sign(count) => {
                self.hosts[self.current].sign(usize::from(count % 4) + 1, &self.chain, clocks)?;
            }
            Action::Post { which, answer } => {
                let answer = match answer % 16 {
                    0..=8 => Answer::Accepted,
                    9 | 10 => Answer::Taken,
                    11 | 12 => Answer::Dropped,
                    13 | 14 => Answer::Refused,
                    _ => Answer::Never,
                };
                self.post(which, answer)?;
            }
            Action::Look { mines } => self.look(mines)?,
            Action::Sync => self.sync()?,
            Action::Crash(lost) => {
                let (durable, all) = (
                    self.hosts[self.current].durable,
                    self.hosts[self.current].log.len(),
                );
                let left = durable + usize::from(lost) % (all - durable + 1);
                self.hosts[self.current].restart(left, &self.chain, clocks)?;
            }
            Action::Restore(copy) => {
                let left = self.hosts[self.current].durable * usize::from(copy) / 256;
                self.is_restored |= left < self.hosts[self.current].durable;
                self.hosts[self.current].restart(left, &self.chain, clocks)?;
            }
            // The operator restores a copy from before the damage.
            Action::Flip { which, bit } => {
                let left = self.hosts[self.current].flip(which, bit)?;
                self.is_restored |= left < self.hosts[self.current].durable;
                self.hosts[self.current].restart(left, &self.chain, clocks)?;
            }
            Action::Wait(seconds) => self.time = self.time.plus_ms(u64::from(seconds) * 1_000),
            Action::SetClock(minutes) => self.ahead += i64::from(minutes) * 60_000,
            Action::Prune if self.may_prune() => {
                self.is_pruned = true;
                self.hosts[self.current].prune(clocks)?;
            }
            Action::Prune => {}
            Action::Drop(which) => {
                let dropped = self.hosts[self.current].discard(which, clocks)?;
                self.dropped.extend(dropped);
            }
            Action::Retry => self.hosts[self.current].retry(clocks)?,
            Action::Grant(which) => {
                let granted = self.hosts[self.current].grant(which, clocks)?;
                self.granted.extend(granted);
            }
        }
        Ok(())
    }

    /// What is pruned is new when it appears again, so nothing may appear again: somebody may have
    /// posted it once more, or a reorganisation may mine it once more.
    fn may_prune(&self) -> bool {
        let final_through = self.chain.head().saturating_sub(FINAL_DEPTH);
        let mut recent = self.messages().filter(|found| found.0 > final_through);
        !self.is_replayed && self.chain.mempool.is_empty() && recent.next().is_none()
    }

    /// A header with an id.
    fn header(&self) -> Header {
        Header {
            id: Some(peers::id(self.time, u64::from(self.said + 1) << 40)),
            ..Header::default()
        }
    }

    /// The next message of a peer.
    fn message(&mut self, peer: u8, to: u8, kind: Kind, header: Option<&Header>) -> Transaction {
        self.said += 1;
        let payload = peers::payload(peers::message(kind, self.said), header);
        let (peer, to) = (usize::from(peer) % PEERS, usize::from(to) % HOSTED);
        peers::from_peer(peer, to, Nonce::new(self.said.into()), payload)
    }

    fn overtake(&mut self, which: u8) {
        let from = usize::from(which) % HOSTED;
        let nonce = self.chain.counter(peers::address(from), self.chain.head());
        let header = self.header();
        self.said += 1;
        let payload = peers::payload(format!("other {}", self.said), Some(&header));
        let signed = peers::sign(from, peers::address(HOSTED), nonce, payload);
        let transaction = Transaction::own(&signed);
        self.others.push(transaction.clone());
        self.chain.post(transaction);
    }

    fn replay(&mut self, which: u8) {
        if self.posted.is_empty() || self.is_pruned {
            return;
        }
        self.is_replayed = true;
        let mut again = self.posted[usize::from(which) % self.posted.len()].clone();
        if which.is_multiple_of(2) {
            // Respelled: the same message under another hash.
            let text = again.text().unwrap_or_default();
            self.respelled
                .extend(peers::read_message(&text).map(|(_, number)| number));
            let text = format!("{} {which} {}", again.hash, self.time);
            again.hash = TransactionHash::of(text.as_bytes());
        }
        self.chain.post(again);
    }

    /// A peer acknowledges one of the messages to it that ask for it.
    fn acknowledge(&mut self, which: u8) {
        let asks = self.chain.transactions().filter(|(_, one)| {
            one.own.is_some() && one.text().is_some_and(|text| text.starts_with("ask "))
        });
        let asks: Vec<_> = asks.map(|(_, one)| one.clone()).collect();
        let Some(asked) = asks.get(usize::from(which) % asks.len().max(1)) else {
            return;
        };
        let from = (0..PEERS).find(|peer| peers::address(HOSTED + peer) == &asked.stored.to);
        let to = peers::hosted(&asked.stored.from);
        if let (Some(from), Some(to)) = (from, to) {
            self.said += 1;
            let id = peers::id(self.time, u64::from(self.said) << 40);
            let payload = peers::acknowledgment(asked.hash, id);
            let nonce = Nonce::new(self.said.into());
            self.chain.post(peers::from_peer(from, to, nonce, payload));
        }
    }

    pub(crate) fn post(&mut self, which: u8, answer: Answer) -> Checked {
        let clocks = self.clocks();
        let host = &mut self.hosts[self.current];
        let durable = host.durable;
        if self.defect == Some(Defect::PostedTooEarly) {
            host.durable = host.log.len();
        }
        let next = host.next_post(which);
        host.durable = durable;
        let Some(id) = next else {
            return Ok(());
        };
        match answer {
            Answer::Accepted | Answer::Taken => self.reach_node(id)?,
            Answer::Never => {
                let bytes = self.hosts[self.current].bytes(id);
                self.refused.extend(bytes.map(|bytes| bytes.digest));
            }
            Answer::Dropped | Answer::Refused => {}
        }
        self.hosts[self.current].posted(id, answer, clocks)
    }

    /// The bytes of a row reach the node.
    pub(crate) fn reach_node(&mut self, id: agentry_core::OutboxId) -> Checked {
        let Some(row) = self.hosts[self.current].state.outbox().get(&id) else {
            broken!("transaction {id} is posted, and not known");
        };
        let Some(bytes) = self.hosts[self.current].bytes(id) else {
            broken!("transaction {id} is posted, and not signed");
        };
        let text = peers::text(&row.payload).unwrap_or_default();
        let is_held = row.unapproved || peers::needs_approval(&text);
        if is_held && !self.granted.contains(&row.origin) {
            broken!("{} is posted, and nobody has approved it", row.origin);
        }
        self.check_stored(bytes.hash)?;
        // Bytes of a machine that was frozen may come long after others have posted the same.
        if !self.posts_in_time()? && self.is_useless(&bytes) {
            return Ok(());
        }
        if self.chain.place(bytes.digest).is_some() {
            broken!("{} is in a block, and posted again", row.origin);
        }
        let nonce = row
            .signed
            .as_ref()
            .map_or(Nonce::default(), |signed| signed.nonce);
        let from = bytes.stored.from.clone();
        let before = self.nonces.insert((from.clone(), nonce), bytes.digest);
        // A restored store cannot know a transaction that is nowhere any more.
        let before = before.filter(|before| !self.is_restored || self.chain.has(*before));
        // With the account's counter, a refused transaction's nonce is free again, and the node mines
        // one of those that have it.
        let before = before.filter(|_| !self.follows_counter());
        if before.is_some_and(|before| before != bytes.digest) {
            broken!("{} has a nonce that was used before", row.origin);
        }
        self.check_nonce(&row, &bytes, nonce)?;
        let day = row.budget_day.unwrap_or(0);
        let spent = self.spent.entry((from, day)).or_default();
        spent.insert(bytes.digest);
        let is_exact = !self.hosts[self.current].overdrawn && !self.is_restored;
        if spent.len() as u64 * FEE > BUDGET && is_exact {
            broken!("{} is beyond the budget", row.origin);
        }
        let before = self.origins.insert(row.origin.clone(), bytes.digest);
        // With the account's counter, what another transaction has overtaken is signed again.
        let before = before.filter(|before| !self.follows_counter() || self.chain.has(*before));
        if before.is_some_and(|before| before != bytes.digest) && !self.is_restored {
            broken!("{} is signed twice", row.origin);
        }
        self.chain.post(bytes);
        Ok(())
    }

    /// Whether the node refuses bytes that it would have taken before.
    fn is_useless(&self, bytes: &Transaction) -> bool {
        let counter = self.chain.counter(&bytes.stored.from, self.chain.head());
        self.chain.place(bytes.digest).is_some()
            || self.refused.contains(&bytes.digest)
            || (self.follows_counter() && bytes.nonce() < Some(counter))
    }

    /// A new nonce is above those that the runtime has seen on the chain.
    fn check_nonce(&self, row: &Outgoing, bytes: &Transaction, nonce: Nonce) -> Checked {
        let since = row.since.unwrap_or(BlockHeight(0));
        let before = self.chain.transactions().filter(|(height, one)| {
            *height <= since && one.own.is_some() && one.stored.from == bytes.stored.from
        });
        let highest = before
            .filter_map(|(_, one)| Nonce::of(&one.stored.nonce))
            .max();
        if !self.is_reorganised && highest.is_some_and(|highest| highest >= nonce) {
            broken!("{} has a nonce below those on the chain", row.origin);
        }
        Ok(())
    }

    fn look(&mut self, mines: bool) -> Checked {
        if !self.hosts[self.current].may_post {
            return Ok(());
        }
        let clocks = self.clocks();
        let through = self.hosts[self.current].read_through();
        let mempool = self.chain.pending().collect();
        if mines {
            self.chain.mine(self.time, 4);
        }
        for id in self.hosts[self.current].look(mempool, through, &self.chain, clocks)? {
            self.reach_node(id)?;
            self.hosts[self.current].posted(id, Answer::Accepted, clocks)?;
        }
        Ok(())
    }

    /// What was appended is made durable.
    fn sync(&mut self) -> Checked {
        if self.cluster.is_single() {
            self.hosts[self.current].sync();
            return Ok(());
        }
        self.append(usize::MAX, AppendOutcome::Answered)
    }

    /// Nothing fails any more, until nothing is left to do.
    pub(crate) fn settle(&mut self) -> Checked {
        for round in 0_u64..400 {
            self.time = self.time.plus_ms(10_000);
            // A budget may have to wait for another day.
            if round % 20 == 19 {
                self.time = self.time.plus_ms(DAY_MS);
            }
            for other in &self.others {
                let counter = self.chain.counter(&other.stored.from, self.chain.head());
                if !self.chain.has(other.digest) && other.nonce() >= Some(counter) {
                    self.chain.post(other.clone());
                }
            }
            self.go_on()?;
            for host in self.live.clone() {
                self.turn_to(host);
                self.work_off()?;
            }
            let is_done = |host: &Host| host.is_quiet() && host.read_through() == self.chain.head();
            if self.has_owners() && self.owners().all(is_done) && self.chain.mempool.is_empty() {
                // What was recognised in a final block is final when the next block is read.
                self.chain.mine(self.time, 0);
                for host in self.live.clone() {
                    self.turn_to(host);
                    let clocks = self.clocks();
                    self.hosts[host].read(&self.chain, 1, clocks)?;
                    self.sync()?;
                }
                return Ok(());
            }
            self.chain.mine(self.time, usize::MAX);
        }
        let unfinished: Vec<_> = self.owners().map(Host::unfinished).collect();
        broken!("something is never done: {}", unfinished.join("\n\n"));
    }

    /// A host does all that it can do.
    fn work_off(&mut self) -> Checked {
        let clocks = self.clocks();
        let host = &mut self.hosts[self.current];
        host.read(&self.chain, usize::MAX, clocks)?;
        let how = How {
            signs: true,
            is_late: false,
        };
        host.store_decided(clocks)?;
        while let Some(origin) = host.grant(0, clocks)? {
            self.granted.insert(origin);
        }
        host.take_back();
        while host.handle(0, how, clocks)? || host.work(0, false, clocks)? {}
        while host.sign(usize::MAX, &self.chain, clocks)? {}
        self.sync()?;
        while let Some(id) = self.hosts[self.current].next_post(0) {
            self.reach_node(id)?;
            self.hosts[self.current].posted(id, Answer::Accepted, clocks)?;
        }
        self.look(false)
    }

    /// The hosts whose work counts.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Host> {
        self.live.iter().map(|host| &self.hosts[*host])
    }
}
