//! Limits on how much of an agent's shared resources each sender may use. [`Standing`] defines the
//! shares.

use std::collections::{BTreeMap, BTreeSet};

use agentry_protocol::Timestamp;

use super::{Refusal, State};
use crate::Standing;
use crate::cause::Cause;
use crate::commit::Outcome;
use crate::rows::{AgentId, Draft, InboxState, OutboxState};

use super::row::inbox::ForgedIndex;
use super::row::{inbox, outbox, task};
use super::table::Shared;

/// A shared resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Stored messages.
    Message,
    /// Stored messages of senders who did not sign them.
    Forged,
    /// Set timers.
    Timer,
    /// Open tasks.
    Task,
    /// Ended tasks, with their results.
    Ended,
    /// Transactions that wait for a nonce or a budget.
    Queued,
    /// Transactions that are final or have failed.
    Settled,
}

/// A number of items, and their size in bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The number of items.
    pub items: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// One item that a row uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The agent whose resource it is.
    pub agent: AgentId,
    /// The resource.
    pub kind: Kind,
    /// Whose share it uses.
    pub cause: Cause,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Who uses a resource: one cause, or all senders of a standing together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// One cause: a sender, the agent itself, or all unverified senders.
    One(Cause),
    /// All senders of a standing; the agent itself if `None`.
    All(Option<Standing>),
}

/// How much of each resource is in use, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage(BTreeMap<(AgentId, Kind, Share), Volume>);

impl Usage {
    /// How much a share is.
    pub fn of(&self, agent: AgentId, kind: Kind, share: Share) -> Volume {
        self.0
            .get(&(agent, kind, share))
            .copied()
            .unwrap_or_default()
    }

    /// Every share that is in use.
    pub fn iter(&self) -> impl Iterator<Item = (&(AgentId, Kind, Share), Volume)> {
        self.0.iter().map(|(share, amount)| (share, *amount))
    }

    pub(super) fn add(&mut self, used: &Used) {
        for share in shares(&used.cause) {
            let key = (used.agent, used.kind, share);
            self.0.entry(key).or_default().add(used.bytes);
        }
    }

    pub(super) fn subtract(&mut self, used: &Used) {
        for share in shares(&used.cause) {
            let key = (used.agent, used.kind, share);
            if let Some(amount) = self.0.get_mut(&key) {
                amount.subtract(used.bytes);
                if amount.items == 0 {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// The sender of a standing who uses most; of several, the first by address.
    pub(super) fn most(&self, agent: AgentId, kind: Kind, standing: Standing) -> Option<Cause> {
        let from = (agent, kind, Share::One(Cause::Own));
        let mut most: Option<(&Cause, u64)> = None;
        for ((_, _, share), amount) in self
            .0
            .range(from..)
            .take_while(|((of, what, _), _)| (*of, *what) == (agent, kind))
        {
            let Share::One(cause @ Cause::Sender(of, _)) = share else {
                continue;
            };
            if *of == standing && most.is_none_or(|(_, bytes)| amount.bytes > bytes) {
                most = Some((cause, amount.bytes));
            }
        }
        most.map(|(cause, _)| cause.clone())
    }
}

/// The shares that something with this cause belongs to.
pub fn shares(cause: &Cause) -> Vec<Share> {
    let mut shares = vec![Share::All(cause.standing())];
    if cause.sender().is_some() {
        shares.push(Share::One(cause.clone()));
    }
    shares
}

const MIB: u64 = 1 << 20;

impl Kind {
    /// Its word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Forged => "forged",
            Self::Timer => "timer",
            Self::Task => "task",
            Self::Ended => "ended",
            Self::Queued => "queued",
            Self::Settled => "settled",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Message => "stored messages",
            Self::Forged => "forged messages",
            Self::Timer => "timers",
            Self::Task => "open tasks",
            Self::Queued => "queued transactions",
            Self::Ended => "results of tasks",
            Self::Settled => "settled transactions",
        }
    }

    /// The capacity of one agent.
    pub const fn capacity(self) -> Volume {
        match self {
            // The node accepts messages of 1 MB for a fee of 10 AIT. A result has at most 16 MiB.
            Self::Message | Self::Ended | Self::Settled => Volume {
                items: u64::MAX,
                bytes: 1024 * MIB,
            },
            Self::Forged => Volume {
                items: 10_000,
                bytes: 64 * MIB,
            },
            Self::Timer | Self::Task => Volume {
                items: 10_000,
                bytes: 256 * MIB,
            },
            // What accumulates while the node is down for hours.
            Self::Queued => Volume {
                items: 200_000,
                bytes: 1024 * MIB,
            },
        }
    }

    /// The largest share that this cause can have.
    pub fn part(self, cause: &Cause) -> Volume {
        let capacity = self.capacity();
        match (cause.standing(), cause.sender()) {
            (None, _) => capacity,
            (Some(standing), None) => capacity.part(|whole| standing.of_all(whole)),
            (Some(standing), Some(_)) => capacity.part(|whole| standing.of_one(whole)),
        }
    }
}

impl Volume {
    /// Adds an item of this size.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.items = self.items.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Subtracts an item of this size.
    pub(super) const fn subtract(&mut self, bytes: u64) {
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The amount of items with these sizes.
    fn sum(items: impl Iterator<Item = usize>) -> Self {
        let mut sum = Self::default();
        items.for_each(|bytes| sum.add(bytes as u64));
        sum
    }

    /// A share of it, of at least one item.
    fn part(self, part: impl Fn(u64) -> u64) -> Self {
        Self {
            items: part(self.items).max(1),
            bytes: part(self.bytes),
        }
    }

    /// Whether it has room for what is used.
    pub const fn holds(self, used: Self) -> bool {
        used.items <= self.items && used.bytes <= self.bytes
    }
}

/// What an outcome adds: each kind, whose share it uses, and how much.
fn added(outcome: &Outcome) -> Vec<(Kind, &Cause, Volume)> {
    let set = outcome.timers.iter().filter_map(|(_, set)| set.as_ref());
    let timers = Volume::sum(set.map(|set| set.data.to_string().len()));
    let tasks = outcome.tasks.iter();
    let tasks = Volume::sum(tasks.map(|task| task.input.to_string().len()));
    let queued = outcome.sends.iter().filter(|(_, signed)| signed.is_none());
    let payload = |(draft, _): &(Draft, _)| draft.payload.to_compact().len();
    let first = queued.clone().next();
    let sender = first.map_or(&outcome.cause, |(draft, _)| &draft.cause);
    let mut added = vec![
        (Kind::Timer, &outcome.cause, timers),
        (Kind::Task, &outcome.cause, tasks),
        (Kind::Queued, sender, Volume::sum(queued.map(payload))),
    ];
    added.retain(|(_, _, more)| more.items > 0);
    added
}

/// The most rows that are pruned at a time.
const PRUNED: usize = 64;

impl State {
    /// The table whose rows use a resource.
    fn shared(&self, kind: Kind) -> &dyn Shared {
        match kind {
            Kind::Message => &self.inbox,
            Kind::Forged => &self.forged,
            Kind::Timer => &self.events,
            Kind::Task | Kind::Ended => &self.tasks,
            Kind::Queued | Kind::Settled => &self.outbox,
        }
    }

    /// How much of a resource a share is.
    pub fn used(&self, agent: AgentId, kind: Kind, share: Share) -> Volume {
        self.shared(kind).used(agent, kind, share)
    }

    /// Why storing `bytes` more of a kind would exceed the share of this cause; `None` if there is
    /// room.
    fn excess(&self, agent: AgentId, kind: Kind, cause: &Cause, bytes: u64) -> Option<String> {
        let table = self.shared(kind);
        let used = |share| table.used(agent, kind, share);
        let capacity = kind.capacity();
        let with = |used: Volume| Volume {
            bytes: used.bytes.saturating_add(bytes),
            ..used
        };
        let too_much = |whose: &str, used: Volume, part: Volume| {
            let what = if used.items > part.items {
                format!("{} of {}", used.items, part.items)
            } else {
                format!("{} of {} bytes", used.bytes, part.bytes)
            };
            format!(
                "{whose} would exceed the limit on {} ({what}); try again when fewer are in use",
                kind.plural()
            )
        };
        if let Some(standing) = cause.standing() {
            if let Some(sender) = cause.sender() {
                let one = with(used(Share::One(cause.clone())));
                let part = kind.part(cause);
                if !part.holds(one) {
                    return Some(too_much(sender.as_str(), one, part));
                }
            }
            let all = with(used(Share::All(Some(standing))));
            let part = capacity.part(|whole| standing.of_all(whole));
            if !part.holds(all) {
                let whose = format!("{} senders together", standing.as_str());
                return Some(too_much(&whose, all, part));
            }
        }
        let mut whole = with(used(Share::All(None)));
        for standing in Standing::ALL {
            let used = used(Share::All(Some(standing)));
            whole.items = whole.items.saturating_add(used.items);
            whole.bytes = whole.bytes.saturating_add(used.bytes);
        }
        (!capacity.holds(whole)).then(|| too_much("the agent", whole, capacity))
    }

    /// Refuses an outcome after which a share is exceeded, so that it is undone. An outcome that
    /// exceeds the whole share by itself is refused permanently.
    pub(super) fn check_shares(&self, agent: AgentId, outcome: &Outcome) -> Result<(), Refusal> {
        for (kind, cause, more) in added(outcome) {
            if let Some(reason) = self.excess(agent, kind, cause, 0) {
                return Err(if kind.part(cause).holds(more) {
                    Refusal::Full { reason }
                } else {
                    Refusal::TooMuch { reason }
                });
            }
        }
        Ok(())
    }

    /// Makes room for `bytes` more: prunes settled rows of the sender, or of the sender of its
    /// standing that uses most. Returns why there is no room, if there is none.
    pub(super) fn make_room(
        &mut self,
        agent: AgentId,
        kind: Kind,
        cause: &Cause,
        bytes: u64,
    ) -> Option<String> {
        // A few at first, so that not much more is pruned than needed.
        let mut count = 1;
        loop {
            let reason = self.excess(agent, kind, cause, bytes)?;
            let standing = cause.standing();
            let most = standing.and_then(|standing| self.shared(kind).most(agent, kind, standing));
            let mut pruned = self.prune_share(agent, kind, cause, count);
            if let (0, Some(most)) = (pruned, most) {
                pruned = self.prune_share(agent, kind, &most, count);
            }
            if pruned == 0 {
                return Some(reason);
            }
            count = (count * 2).min(PRUNED);
        }
    }

    /// Prunes what exceeds the limits after transactions of these agents, each caused by somebody,
    /// were settled.
    pub(super) fn bound_settled(&mut self, settled: &BTreeSet<(AgentId, Cause)>) {
        for (agent, cause) in settled {
            self.make_room(*agent, Kind::Settled, cause, 0);
        }
    }

    /// Prunes settled rows of a cause: the oldest first, at most `count`. Returns how many were
    /// pruned.
    fn prune_share(&mut self, agent: AgentId, kind: Kind, cause: &Cause, count: usize) -> usize {
        match kind {
            // What identifies them stays, so that none is acted on again. Dead letters, and
            // messages with undelivered events, stay complete.
            Kind::Message => {
                let (from, to) = inbox::Index::prunable(agent, cause);
                let pruned: Vec<_> = self
                    .inbox
                    .range(from..=to)
                    .filter(|row| row.state != InboxState::Dead && !self.is_needed(row.id))
                    .map(|row| row.id)
                    .take(count)
                    .collect();
                for id in &pruned {
                    self.inbox.change(id, |row| row.stored = "".into());
                }
                pruned.len()
            }
            // Tasks with undelivered updates stay.
            Kind::Ended => {
                let (from, to) = task::Index::prunable(agent, cause);
                let pruned: Vec<_> = self
                    .tasks
                    .range(from..=to)
                    .filter(|row| self.updates(row).next().is_none())
                    .filter(|row| row.inbox.is_none_or(|inbox| !self.has_events(inbox)))
                    .map(|row| row.id)
                    .take(count)
                    .collect();
                for id in &pruned {
                    self.tasks.remove(id);
                }
                pruned.len()
            }
            // Failed ones may wait for an operator, so they are deleted last.
            Kind::Settled => {
                for state in [OutboxState::Final, OutboxState::Failed] {
                    let (from, to) = outbox::Index::prunable(agent, cause, state);
                    let pruned: Vec<_> = self
                        .outbox
                        .range(from..=to)
                        .map(|row| row.id)
                        .filter(|id| {
                            self.receipts
                                .get(id)
                                .is_none_or(|receipt| receipt.due_at.is_none())
                        })
                        .take(count)
                        .collect();
                    for id in &pruned {
                        self.delete_transaction(*id);
                    }
                    if !pruned.is_empty() {
                        return pruned.len();
                    }
                }
                0
            }
            Kind::Forged | Kind::Timer | Kind::Task | Kind::Queued => 0,
        }
    }

    /// Deletes the oldest forged messages of an agent beyond the limit.
    pub(super) fn bound_forged(&mut self, agent: AgentId) {
        let capacity = Kind::Forged.capacity();
        let all = Share::All(Some(Standing::Unverified));
        while !capacity.holds(self.used(agent, Kind::Forged, all.clone())) {
            let oldest = |at, order| ForgedIndex::Oldest(agent, at, order);
            let all = oldest(Timestamp::EPOCH, i64::MIN)..=oldest(Timestamp::MAX, i64::MAX);
            let Some(oldest) = self.forged.range(all).next() else {
                return;
            };
            let key = (agent, oldest.hash);
            self.forged.remove(&key);
        }
    }
}
