//! The work that is due for an agent. Senders take turns.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::{Bound, Range};
use std::sync::Arc;

use agentry_protocol::{Address, BlockHeight, Timestamp};
use serde_json::Value;

use super::State;
use super::row::inbox::{Index, Lane};
use super::row::{Event, Message, Outgoing, Task, event, outbox};
use super::table::{Row, Table};
use crate::SentMessage;
use crate::delivery::DeliveryData;
use crate::rows::{
    AgentId, EventId, EventKind, EventRef, InboxId, InboxState, OutboxId, Overdue, TaskId,
};

/// The most senders that are examined in one pull, so that a pull costs little however many senders
/// have to wait.
const MAX_EXAMINED: usize = 256;

/// How soon a message that has expired only by the local clock is examined again, in milliseconds.
const DOUBT_MS: Range<u64> = 50..5_000;

/// The work that is due for an agent, and when there will be more.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// Messages: urgent ones first, then by sender in turn.
    pub messages: Vec<Arc<Message>>,
    /// Timers, delivery updates, outcomes of watched messages, task updates: oldest first.
    pub events: Vec<DueEvent>,
    /// Sent messages that were not acknowledged in time.
    pub overdue: Vec<Overdue>,
    /// When to read again, if something waits for its time.
    pub next_at: Option<Timestamp>,
    /// Nothing is due from the senders that were examined, and there are others: the next pull
    /// continues with them.
    pub is_cut: bool,
}

/// The state of an agent's behaviours: values by key, by behaviour.
pub type Memory = BTreeMap<String, BTreeMap<String, Value>>;

/// An event other than a message that is due, and what it is about.
#[derive(Clone, Debug)]
pub struct DueEvent {
    /// The event.
    pub row: Arc<Event>,
    /// The message that it is about.
    pub message: Option<Arc<Message>>,
    /// The task that it is about.
    pub task: Option<Arc<Task>>,
    /// The message whose delivery it is about.
    pub sent: Option<SentMessage>,
}

impl Due {
    /// Whether there is nothing to do now.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.events.is_empty() && self.overdue.is_empty()
    }

    fn later(&mut self, due_at: Timestamp) {
        self.next_at = Some(self.next_at.map_or(due_at, |next| next.min(due_at)));
    }
}

/// The senders whose turn it is with an agent.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// The sender of urgent messages that had the last turn.
    pub urgent: Option<Address>,
    /// The verified sender that had the last turn.
    pub verified: Option<Address>,
    /// The unverified sender that had the last turn.
    pub unverified: Option<Address>,
    /// The verified senders that have to wait.
    pub paused: HashSet<Address>,
    /// Whether all unverified senders have to wait.
    pub unverified_paused: bool,
    /// Messages with an `exp` in this range are left alone: they have expired only by the local
    /// clock.
    pub doubted: Range<Timestamp>,
    /// The events and messages whose outcome is on its way.
    pub under_way: Vec<EventRef>,
    /// The progress of each lane in examining all of its senders once.
    rounds: [Round; 3],
}

impl Turn {
    /// Examines all senders again, starting at the current turns: senders that were examined before
    /// may have something new.
    pub fn start_over(&mut self) {
        self.rounds = Default::default();
    }

    /// Whether there are senders that were not examined.
    fn is_cut(&self) -> bool {
        self.rounds
            .iter()
            .any(|round| matches!(round, Round::At(_)))
    }
}

/// The progress of examining all senders of a lane once, which can take several pulls.
#[derive(Clone, Debug, Default)]
enum Round {
    #[default]
    New,
    At(Circle),
    /// Nothing from them is due.
    Done,
}

/// One round through the senders of a lane.
#[derive(Clone, Debug)]
struct Circle {
    /// The sender after which it started.
    began: Option<Address>,
    /// Whether the round has passed the last sender.
    wrapped: bool,
}

impl Circle {
    fn behind(sender: Option<&Address>) -> Self {
        Self {
            began: sender.cloned(),
            wrapped: sender.is_none(),
        }
    }

    /// Whether the round ends before this sender.
    fn ends_before(&self, sender: &Address) -> bool {
        self.wrapped && self.began.as_ref().is_some_and(|began| sender > began)
    }
}

/// What is being collected for one agent.
struct Pull<'a> {
    state: &'a State,
    agent: AgentId,
    now: Timestamp,
    through: BlockHeight,
    due: Due,
}

impl State {
    /// The work that is due for an agent at `now`: messages in blocks up to `through`, events, and
    /// overdue messages; at most `limit` of each.
    ///
    /// The senders take turns, and `turn` advances. For each sender, first attempts come in the
    /// chain's order, then retries. The cost is a few seeks per sender, however many messages wait.
    pub fn due(
        &self,
        agent: AgentId,
        now: Timestamp,
        through: BlockHeight,
        turn: &mut Turn,
        limit: usize,
    ) -> Due {
        let mut pull = Pull {
            state: self,
            agent,
            now,
            through,
            due: Due::default(),
        };
        // At most half of the places: a sender of endless urgent messages delays the others but does
        // not stop them.
        pull.lane(Lane::Urgent, turn, limit.div_ceil(2));
        pull.lane(Lane::Verified, turn, limit);
        if turn.unverified_paused {
            let [.., of_unverified] = &mut turn.rounds;
            *of_unverified = Round::Done;
        }
        pull.lane(Lane::Unverified, turn, limit.div_ceil(2));
        pull.events(turn, limit);
        pull.overdue(limit);
        let mut due = pull.due;
        due.is_cut = due.is_empty() && turn.is_cut();
        if !due.is_cut {
            turn.start_over();
        }
        due
    }

    /// The first messages, of at most `limit` that are examined, of a sender or of all unverified
    /// senders, that have waited for their first attempt since before this time.
    pub(super) fn late(
        &self,
        agent: AgentId,
        sender: Option<&Address>,
        before: Timestamp,
        limit: usize,
    ) -> Vec<InboxId> {
        let (from, to) = match sender {
            Some(sender) => {
                let at = |seq, id| {
                    let sender = Some(sender.clone());
                    Index::Waiting(
                        agent,
                        Lane::Verified,
                        sender,
                        Timestamp::EPOCH,
                        seq,
                        InboxId(id),
                    )
                };
                (at(i64::MIN, i64::MIN), at(i64::MAX, i64::MAX))
            }
            None => {
                let at = |at| Index::Untried(agent, at, InboxId(i64::MIN));
                (at(Timestamp::EPOCH), at(before))
            }
        };
        let rows = self.inbox.range(from..to).take(limit);
        rows.filter(|row| row.is_untried() && row.seen_at < before)
            .map(|row| row.id)
            .collect()
    }

    /// Whether messages of a sender, or of all unverified senders, have waited for their first
    /// attempt since before this time.
    pub fn is_beyond_timeout(
        &self,
        agent: AgentId,
        sender: Option<&Address>,
        before: Timestamp,
    ) -> bool {
        !self.late(agent, sender, before, 1).is_empty()
    }

    /// The agents for which messages wait, or something else is due at `now`. Costs a few seeks for
    /// each agent for which anything waits, however much waits and however many other agents there
    /// are.
    pub fn agents_due(&self, now: Timestamp) -> Vec<AgentId> {
        // A pull finds out whether the due times and the rates of senders allow a message now.
        let messages = of_each_agent(
            &self.inbox,
            |agent| {
                Index::Waiting(
                    agent,
                    Lane::Urgent,
                    None,
                    Timestamp::EPOCH,
                    i64::MIN,
                    InboxId(i64::MIN),
                )
            },
            |entry| match entry {
                Index::Waiting(agent, ..) => Some((agent, Timestamp::EPOCH)),
                _ => None,
            },
        );
        let events = of_each_agent(
            &self.events,
            |agent| event::Index::Waiting(agent, Timestamp::EPOCH, EventId(i64::MIN)),
            |entry| match entry {
                event::Index::Waiting(agent, at, _) => Some((agent, at)),
                _ => None,
            },
        );
        let receipts = of_each_agent(
            &self.receipts,
            |agent| (agent, Timestamp::EPOCH, OutboxId(i64::MIN)),
            |(agent, at, _)| Some((agent, at)),
        );
        let waiting = messages.chain(events).chain(receipts);
        let due = waiting.filter(|(_, at)| *at <= now);
        let agents: BTreeSet<AgentId> = due.map(|(agent, _)| agent).collect();
        agents.into_iter().collect()
    }

    /// The state of an agent's behaviours.
    pub fn memory_of(&self, agent: AgentId) -> Memory {
        let from = |agent| (agent, String::new(), String::new());
        let mut memory = Memory::new();
        for row in self.memory.range(from(agent)..from(after(agent))) {
            let of = memory.entry(row.behaviour.clone()).or_default();
            of.insert(row.key.clone(), row.value.clone());
        }
        memory
    }

    /// The agents for which messages in blocks at these heights wait.
    pub fn agents_waiting_at(&self, after: BlockHeight, through: BlockHeight) -> Vec<AgentId> {
        let above = |height| Index::Height(height, InboxId(i64::MAX));
        let seen = self.inbox.range(above(after)..above(through));
        let waiting = seen.filter(|message| message.state == InboxState::Waiting);
        let agents: BTreeSet<AgentId> = waiting.map(|message| message.agent).collect();
        agents.into_iter().collect()
    }
}

/// The agent after another.
pub(super) const fn after(agent: AgentId) -> AgentId {
    AgentId(agent.0.saturating_add(1))
}

/// Each agent with an entry in an index of open rows, and the time in its first entry. `from` is
/// before all entries of an agent, and `read` reads an entry of the index.
pub(super) fn of_each_agent<R: Row>(
    table: &Table<R>,
    from: impl Fn(AgentId) -> R::Index,
    read: impl Fn(R::Index) -> Option<(AgentId, Timestamp)>,
) -> impl Iterator<Item = (AgentId, Timestamp)> {
    /// An agent after all others.
    const LAST: AgentId = AgentId(i64::MAX);
    let mut next = AgentId(i64::MIN);
    std::iter::from_fn(move || {
        let (entry, _) = table.entries(from(next)..from(LAST)).next()?;
        let (agent, at) = read(entry)?;
        next = after(agent);
        Some((agent, at))
    })
}

impl Pull<'_> {
    /// Adds the due messages of a lane. Its turns continue after the last sender, and advance.
    fn lane(&mut self, lane: Lane, turn: &mut Turn, limit: usize) {
        let [of_urgent, of_verified, of_unverified] = &mut turn.rounds;
        let (last, round) = match lane {
            Lane::Urgent => (&mut turn.urgent, of_urgent),
            Lane::Verified => (&mut turn.verified, of_verified),
            Lane::Unverified => (&mut turn.unverified, of_unverified),
        };
        let paused = &turn.paused;
        let left_alone = (&turn.doubted, &turn.under_way[..]);
        let mut circle = match std::mem::replace(round, Round::Done) {
            Round::New => Circle::behind(last.as_ref()),
            Round::At(circle) => circle,
            Round::Done => return,
        };
        let mut senders = Vec::new();
        let mut examined = 0;
        let mut next = last.clone();
        while senders.len() < limit {
            if examined == MAX_EXAMINED {
                if senders.is_empty() {
                    *last = next;
                    *round = Round::At(circle);
                }
                break;
            }
            match self.sender_after(lane, next.as_ref()) {
                Some(sender) if circle.ends_before(&sender) => break,
                Some(sender) => {
                    examined += 1;
                    next = Some(sender.clone());
                    // A sender with nothing due takes no place from the others.
                    let is_due =
                        |pull: &mut Self| !pull.first_due(lane, &sender, left_alone, 1).is_empty();
                    if !paused.contains(&sender) && is_due(self) {
                        senders.push(sender);
                    }
                }
                None if circle.wrapped => break,
                None => {
                    circle.wrapped = true;
                    next = None;
                }
            }
        }
        let share = (limit / senders.len().max(1)).max(1);
        for sender in senders {
            for message in self.first_due(lane, &sender, left_alone, share) {
                if self.due.messages.iter().all(|other| other.id != message.id) {
                    self.due.messages.push(message);
                }
            }
            *last = Some(sender);
        }
    }

    fn sender_after(&self, lane: Lane, after: Option<&Address>) -> Option<Address> {
        let at = |sender, (due_at, seq, id)| {
            Index::Waiting(self.agent, lane, sender, due_at, seq, InboxId(id))
        };
        let behind = at(after.cloned(), (Timestamp::MAX, i64::MAX, i64::MAX));
        let ends = (Bound::Excluded(behind), Bound::Unbounded);
        match self.state.inbox.entries(ends).next()? {
            (Index::Waiting(agent, of, sender, ..), _) if (agent, of) == (self.agent, lane) => {
                sender
            }
            _ => None,
        }
    }

    /// The first due messages of a sender, at most `limit`. Notes when there will be more.
    fn first_due(
        &mut self,
        lane: Lane,
        sender: &Address,
        (doubted, under_way): (&Range<Timestamp>, &[EventRef]),
        limit: usize,
    ) -> Vec<Arc<Message>> {
        let (agent, state) = (self.agent, self.state);
        let at = |due_at, seq, id| {
            let sender = Some(sender.clone());
            Index::Waiting(agent, lane, sender, due_at, seq, InboxId(id))
        };
        let waiting =
            at(Timestamp::EPOCH, i64::MIN, i64::MIN)..=at(Timestamp::MAX, i64::MAX, i64::MAX);
        let mut found = Vec::new();
        for (entry, id) in state.inbox.entries(waiting) {
            let Index::Waiting(_, _, _, due_at, ..) = entry else {
                break;
            };
            if due_at > self.now {
                self.due.later(due_at);
                break;
            }
            if under_way.contains(&EventRef::Inbox(id)) {
                continue;
            }
            // A row that cannot be read is an error of the query.
            let Some(message) = state.inbox.get(&id) else {
                continue;
            };
            if message.height.is_some_and(|height| height > self.through) {
                break;
            }
            match message.expires_at.filter(|exp| doubted.contains(exp)) {
                Some(exp) => {
                    let certain_in = exp.ms_since(doubted.start).saturating_add(1);
                    let look_in = certain_in.clamp(DOUBT_MS.start, DOUBT_MS.end);
                    self.due.later(self.now.plus_ms(look_in));
                }
                None => found.push(message),
            }
            if found.len() == limit {
                break;
            }
        }
        found
    }

    fn events(&mut self, turn: &Turn, limit: usize) {
        let (agent, state) = (self.agent, self.state);
        let at = |at, id| event::Index::Waiting(agent, at, EventId(id));
        let all = at(Timestamp::EPOCH, i64::MIN)..=at(Timestamp::MAX, i64::MAX);
        let entries = state.events.entries(all);
        let is_under_way = |id| turn.under_way.contains(&EventRef::Event(id));
        for (entry, id) in entries.filter(|(_, id)| !is_under_way(*id)).take(limit) {
            let event::Index::Waiting(_, due_at, _) = entry else {
                break;
            };
            if due_at > self.now {
                self.due.later(due_at);
                break;
            }
            let Some(row) = state.events.get(&id) else {
                continue;
            };
            let task = row.data.get("task").and_then(Value::as_i64);
            self.due.events.push(DueEvent {
                message: row.inbox.and_then(|inbox| state.inbox.get(&inbox)),
                task: task.and_then(|task| state.tasks.get(&TaskId(task))),
                sent: state.delivered(&row),
                row,
            });
        }
    }

    /// Adds the messages of the agent that were not acknowledged in time. One whose answer has
    /// arrived and waits for its turn is left out, because the answer may acknowledge it.
    fn overdue(&mut self, limit: usize) {
        let (agent, state) = (self.agent, self.state);
        let at = |at, id| (agent, at, OutboxId(id));
        let all = at(Timestamp::EPOCH, i64::MIN)..=at(Timestamp::MAX, i64::MAX);
        for ((_, due_at, id), _) in state.receipts.entries(all) {
            if due_at > self.now {
                self.due.later(due_at);
                break;
            }
            let (Some(receipt), Some(sent)) = (state.receipts.get(&id), state.outbox.get(&id))
            else {
                continue;
            };
            if !state.is_answered(agent, &sent) {
                self.due.overdue.push(Overdue {
                    outbox: id,
                    resends_left: receipt.resends_left,
                    draft: sent.draft(),
                });
            }
            if self.due.overdue.len() == limit {
                break;
            }
        }
    }
}

impl State {
    /// The message whose delivery an event is about.
    fn delivered(&self, row: &Event) -> Option<SentMessage> {
        if row.kind != EventKind::Delivery {
            return None;
        }
        let outbox = DeliveryData::read(&row.data)?.outbox;
        self.sent_message(outbox, row.name.clone())
    }

    /// Whether an answer of the recipient to a message waits for its turn.
    fn is_answered(&self, agent: AgentId, sent: &Arc<Outgoing>) -> bool {
        self.carriers(sent).iter().any(|carrier| {
            carrier.signed.as_ref().is_some_and(|signed| {
                let at = |id| Index::Answers(agent, signed.hash, InboxId(id));
                let mut answers = self.inbox.range(at(i64::MIN)..=at(i64::MAX));
                answers.any(|answer| answer.sender == sent.recipient)
            })
        })
    }

    /// The transactions that carried a message, given by the first: that one, and those that sent it
    /// again.
    pub(super) fn carriers(&self, first: &Arc<Outgoing>) -> Vec<Arc<Outgoing>> {
        let again = |id| outbox::Index::Resend(first.id, OutboxId(id));
        let again = self.outbox.range(again(i64::MIN)..=again(i64::MAX));
        std::iter::once(Arc::clone(first)).chain(again).collect()
    }
}
