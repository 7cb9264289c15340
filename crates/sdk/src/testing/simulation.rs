//! The simulation: its public interface.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use agentry_core::commit::{HostedAgent, Plan, Planned};
use agentry_core::rows::{EventKind, EventState};
use agentry_core::state::{Failure, Refusal};
use agentry_core::{AgentId, Changes, Commit, InboxId, OutboxId, TaskId};
use agentry_protocol::command::{Status, Tag, Tags};
use agentry_protocol::{Address, BlockHeight, Timestamp, TransactionHash};

use super::agent::Hosted;
use super::ledger::{Ledger, Transaction};
use super::sent::{Dropped, Run, Sent};
use super::tasks::{TaskPlan, TaskState};
use super::{Agent, Disturbances, MessageBuilder, Party, Random, START, TestEnvironment};
use crate::{Event, Settlement, State, Task, TaskError, TaskOutput, Tokens};

/// Returns the answers of a peer to a message.
type Script = Box<dyn FnMut(&Sent) -> Vec<MessageBuilder> + Send>;

/// A chain, a clock, hosted agents and peers, all in memory; see the [module](super).
pub struct Simulation {
    pub(super) now: Timestamp,
    pub(super) random: Random,
    pub(super) ledger: Ledger,
    /// Transactions that the node lost, to be posted again after the next block.
    pub(super) lost: Vec<Transaction>,
    pub(super) environment: TestEnvironment,
    pub(super) hosts: Vec<Hosted>,
    /// Everything durable of the hosted agents.
    pub(super) store: agentry_core::State,
    /// What they sent, by the first transaction.
    pub(super) sent: BTreeMap<OutboxId, Sent>,
    /// What was shown to the script of its recipient.
    pub(super) shown: BTreeSet<OutboxId>,
    /// What the senders of dead letters and failed tasks are told.
    pub(super) failures: BTreeMap<Subject, String>,
    /// The time limits of running attempts. An interrupted attempt keeps its own, so that an
    /// interruption changes nothing.
    pub(super) limits: BTreeMap<TaskId, Timestamp>,
    /// Results of attempts whose last report of progress is told first.
    pub(super) results: BTreeMap<TaskId, (Result<TaskOutput, TaskError>, Tokens)>,
    pub(super) strangers: BTreeSet<Address>,
    pub(super) scripts: BTreeMap<Address, Script>,
    pub(super) disturbances: Disturbances,
    pub(super) plan: Box<dyn FnMut(&Task) -> TaskPlan + Send>,
    pub(super) runs: Vec<Run>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) dead_letters: Vec<(Event, String)>,
    posted: u64,
    repeated: u64,
}

/// Something that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Message(InboxId),
    Task(TaskId),
}

impl Simulation {
    /// An empty simulation. The seed determines its random faults. The clock starts at
    /// [`START`], and the chain has no blocks.
    pub fn new(seed: u64) -> Self {
        Self {
            now: START,
            random: Random::new(seed),
            ledger: Ledger::default(),
            lost: Vec::new(),
            environment: TestEnvironment::new(),
            hosts: Vec::new(),
            store: agentry_core::State::default(),
            sent: BTreeMap::new(),
            shown: BTreeSet::new(),
            failures: BTreeMap::new(),
            limits: BTreeMap::new(),
            results: BTreeMap::new(),
            strangers: BTreeSet::new(),
            scripts: BTreeMap::new(),
            disturbances: Disturbances::default(),
            plan: Box::new(|_| TaskPlan::Execute),
            runs: Vec::new(),
            dropped: Vec::new(),
            dead_letters: Vec::new(),
            posted: 0,
            repeated: 0,
        }
    }

    /// Hosts an agent. Its name can be resolved, its key is known, and messages to it can be
    /// sealed.
    ///
    /// # Panics
    /// If a behaviour refuses its settings, or the name is taken.
    pub fn host(&mut self, agent: Agent) -> Party {
        let party = Party::named(agent.name.clone());
        assert!(
            self.hosts.iter().all(|other| other.party != party),
            "an agent named {} is hosted already",
            party.name
        );
        let host = HostedAgent {
            address: party.address.clone(),
            name: party.name.clone(),
            start_height: BlockHeight(self.height().0 + 1),
        };
        let changes = self.must(&Commit::Host { agents: vec![host] });
        let id = changes.agents.first().copied().unwrap_or(AgentId(0));
        let hosted = Hosted::new(id, party.clone(), agent);
        let mut tags: Vec<Tag> = hosted
            .instances
            .iter()
            .flat_map(|one| one.behaviour.capabilities())
            .filter_map(|capability| capability.parse().ok())
            .collect();
        tags.sort();
        tags.dedup();
        let status = Status {
            agent: party.name.parse().ok(),
            capabilities: Tags::new(tags).unwrap_or_default(),
            ..Status::default()
        };
        self.environment.set_status(party.name.clone(), status);
        self.acquaint(&party);
        let plans = hosted.plans(self.now);
        self.must(&Commit::Plan {
            plans,
            at: self.now,
        });
        self.hosts.push(hosted);
        party
    }

    /// Makes a behaviour's schedule due now, whatever its next time is, and settles the simulation.
    ///
    /// # Panics
    /// If there is no such behaviour or schedule, and as [`settle`](Self::settle).
    pub async fn tick(&mut self, agent: &Party, behaviour: &str, name: &str) {
        let id = self.behaviour_of(agent, behaviour);
        let instance = self.host_of(agent).instance(behaviour);
        let schedules = instance.map(|one| one.behaviour.schedules());
        assert!(
            schedules.is_some_and(|known| known.iter().any(|one| one.name == name)),
            "{behaviour} of {} has no schedule {name:?}",
            agent.name
        );
        let tick = Planned::Tick {
            name: name.to_owned(),
            // Another one than before, so that its next time is replaced.
            schedule: format!("{name} at {}", self.now),
            due_at: self.now,
        };
        let plan = Plan {
            agent: id,
            behaviour: behaviour.to_owned(),
            when: tick,
        };
        self.must(&Commit::Plan {
            plans: vec![plan],
            at: self.now,
        });
        self.settle().await;
    }

    /// Adds a peer whose key is known: its messages are verified, and messages to it can be sealed.
    pub fn peer(&mut self, name: impl Into<String>) -> Party {
        let party = Party::named(name);
        self.acquaint(&party);
        party
    }

    /// Adds a peer whose key is unknown: its messages are unverified, and messages to it cannot be
    /// sealed.
    pub fn stranger(&mut self, name: impl Into<String>) -> Party {
        let party = Party::named(name);
        self.strangers.insert(party.address.clone());
        party
    }

    fn acquaint(&mut self, party: &Party) {
        self.environment.alias(party.name.clone(), party);
        self.environment.know_key(party, party.encryption_key);
    }

    /// Sets a function that answers the messages of hosted agents to a peer. It is called once for
    /// each message, when the message is mined. By default an answer is from the peer to the agent.
    ///
    /// ```
    /// use agentry_sdk::testing::{MessageBuilder, Simulation};
    ///
    /// let mut chain = Simulation::new(1);
    /// let bob = chain.peer("bob");
    /// chain.script(&bob, |sent| {
    ///     vec![MessageBuilder::text("thank you").answering(sent.transaction)]
    /// });
    /// ```
    pub fn script(
        &mut self,
        peer: &Party,
        script: impl FnMut(&Sent) -> Vec<MessageBuilder> + Send + 'static,
    ) {
        self.scripts.insert(peer.address.clone(), Box::new(script));
    }

    /// Sets a function that decides the outcome of each attempt at a task. Without it, the
    /// simulation calls the behaviour's `execute`.
    pub fn plan_tasks(&mut self, plan: impl FnMut(&Task) -> TaskPlan + Send + 'static) {
        self.plan = Box::new(plan);
    }

    /// Posts a message; it is in the next block.
    ///
    /// # Panics
    /// If it has no recipient and no agent is hosted, or if it cannot be posted to a chain.
    pub fn post(&mut self, message: MessageBuilder) -> TransactionHash {
        self.posted += 1;
        self.post_as(message, &format!("post/{}", self.posted))
    }

    /// Posts a message; `nonce` distinguishes it from equal messages.
    pub(super) fn post_as(&mut self, message: MessageBuilder, nonce: &str) -> TransactionHash {
        let to = match (&message.to, self.hosts.first()) {
            (Some(to), _) => to.clone(),
            (None, Some(host)) => host.party.address.clone(),
            (None, None) => panic!("a message needs a recipient: no agent is hosted"),
        };
        let written = message.write(&to, self.now, nonce);
        self.post_transaction(Transaction::new(written))
    }

    pub(super) fn post_transaction(&mut self, transaction: Transaction) -> TransactionHash {
        let hash = transaction.hash;
        self.ledger.post(transaction);
        hash
    }

    /// A nonce for the next duplicate. Duplicates have a counter of their own, so that they do not
    /// change the nonces of messages.
    pub(super) fn repetition(&mut self) -> String {
        self.repeated += 1;
        format!("again/{}", self.repeated)
    }

    /// Posts a message, and settles the simulation.
    ///
    /// # Panics
    /// As [`post`](Self::post) and [`settle`](Self::settle).
    pub async fn deliver(&mut self, message: MessageBuilder) -> TransactionHash {
        let hash = self.post(message);
        self.settle().await;
        hash
    }

    /// The time of the clock.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The height of the last block.
    pub fn height(&self) -> BlockHeight {
        self.ledger.height()
    }

    /// The names, cards and statuses that behaviours can look up; a test can set them.
    pub const fn environment(&self) -> &TestEnvironment {
        &self.environment
    }

    /// All messages that hosted agents have sent, in order for each agent.
    pub fn sent(&self) -> Vec<Sent> {
        let rows = self.store.outbox().iter();
        let mut rows: Vec<_> = rows.map(|row| (row.agent, row.id)).collect();
        rows.sort();
        let sent = rows.into_iter().filter_map(|(_, id)| self.sent_as(id));
        sent.collect()
    }

    /// All messages that hosted agents have sent to an address.
    pub fn sent_to(&self, to: impl Into<Address>) -> Vec<Sent> {
        let to = to.into();
        let mut sent = self.sent();
        sent.retain(|sent| sent.to == to);
        sent
    }

    /// The state of a behaviour.
    ///
    /// # Panics
    /// If there is no such behaviour.
    pub fn state(&self, agent: &Party, behaviour: &str) -> State {
        self.state_of(self.behaviour_of(agent, behaviour), behaviour)
    }

    pub(super) fn state_of(&self, agent: AgentId, behaviour: &str) -> State {
        let rows = self.store.memory().iter();
        let own = rows.filter(|row| row.agent == agent && row.behaviour == behaviour);
        State::new(own.map(|row| (row.key.clone(), row.value.clone())))
    }

    /// The timers of a behaviour that have not expired: name and time.
    ///
    /// # Panics
    /// If there is no such behaviour.
    pub fn timers(&self, agent: &Party, behaviour: &str) -> Vec<(String, Timestamp)> {
        let id = self.behaviour_of(agent, behaviour);
        let timers = self.store.events().iter().filter(|event| {
            event.kind == EventKind::Timer
                && event.state == EventState::Waiting
                && (event.agent, event.behaviour.as_str()) == (id, behaviour)
        });
        timers
            .map(|timer| (timer.name.clone(), timer.due_at))
            .collect()
    }

    /// The tasks of an agent: key and state, in the order in which they were started.
    ///
    /// # Panics
    /// If the agent is not hosted.
    pub fn tasks(&self, agent: &Party) -> Vec<(String, TaskState)> {
        let id = self.host_of(agent).id;
        let tasks = self.store.tasks().iter().filter(|task| task.agent == id);
        tasks
            .map(|task| (task.key.clone(), self.task_state(task)))
            .collect()
    }

    /// The outcome of the message that a transaction carried to a hosted agent; none while it is
    /// not settled, or if it was [dropped](Self::dropped).
    pub fn settlement(&self, transaction: TransactionHash) -> Option<Settlement> {
        let transaction = self.find(transaction)?;
        let to = self.host_at(&transaction.written.stored.to)?;
        let row = self.received(to.id, transaction)?;
        self.settlement_of(&row)
    }

    /// Every run of every handler, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Messages that were dropped before any behaviour, with the reason.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// The dead letters: events that are no longer retried, with the reason.
    pub fn dead_letters(&self) -> &[(Event, String)] {
        &self.dead_letters
    }

    pub(super) fn host_of(&self, agent: &Party) -> &Hosted {
        match self.hosts.iter().find(|host| host.party == *agent) {
            Some(host) => host,
            None => panic!("no agent named {} is hosted here", agent.name),
        }
    }

    /// The agent that has a behaviour.
    fn behaviour_of(&self, agent: &Party, behaviour: &str) -> AgentId {
        let host = self.host_of(agent);
        let known = host.instance(behaviour);
        assert!(
            known.is_some(),
            "{} has no behaviour {behaviour:?}",
            agent.name
        );
        host.id
    }

    pub(super) fn host_at(&self, address: &Address) -> Option<&Hosted> {
        self.hosts
            .iter()
            .find(|host| host.party.address == *address)
    }

    /// A transaction that was posted here.
    pub(super) fn find(&self, hash: TransactionHash) -> Option<&Transaction> {
        let lost = || self.lost.iter().find(|lost| lost.hash == hash);
        self.ledger.find(hash).or_else(lost)
    }

    /// Applies a commit.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Changes, Refusal> {
        match self.store.apply(commit) {
            Ok(receipt) => Ok(receipt),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Archive(error)) => panic!("a store in memory failed: {error}"),
        }
    }

    /// Applies a commit that is never refused.
    pub(super) fn must(&mut self, commit: &Commit) -> Changes {
        match self.commit(commit) {
            Ok(receipt) => receipt,
            Err(refusal) => panic!("the store refuses a commit: {refusal}"),
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("now", &self.now)
            .field("height", &self.ledger.height())
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}
