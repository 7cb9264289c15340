//! Questions about drafts that wait for a nonce or a budget, and about transactions that are signed
//! and in no block.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use agentry_protocol::{BlockHeight, Nonce, Timestamp};

use super::State;
use super::due::{after, of_each_agent};
use super::row::Outgoing;
use super::row::outbox::Index;
use super::row::sighting;
use crate::rows::{AgentId, OpenTransaction, OutboxId};

/// How many drafts of one agent are read when few causes have waiting ones.
const HELD_AT_MOST: usize = 128;

/// The most mined transactions of a wallet that a node may not have counted yet: as many as are
/// followed.
const COUNTER_LAG: u64 = 20_000;

/// Before the first row of the outbox, and after the last.
const FIRST: OutboxId = OutboxId(i64::MIN);
const LAST: OutboxId = OutboxId(i64::MAX);

/// The progress of a walk through the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueTurn {
    /// The agent that had the last turn.
    last: Option<AgentId>,
    /// The last draft of each agent that was read in this walk.
    after: HashMap<AgentId, OutboxId>,
}

impl QueueTurn {
    /// Notes that these drafts were read.
    pub fn read(&mut self, drafts: &[Arc<Outgoing>]) {
        for draft in drafts {
            self.last = Some(draft.agent);
            self.after.insert(draft.agent, draft.id);
        }
    }

    /// Notes that the end of the queue was reached: the next walk starts with the oldest drafts,
    /// and with the agent whose turn it is.
    pub fn ended(&mut self) {
        self.after.clear();
    }

    /// The row of an agent behind which its drafts are still to be read.
    fn after(&self, agent: AgentId) -> OutboxId {
        self.after.get(&agent).copied().unwrap_or(FIRST)
    }
}

impl State {
    /// The next drafts that wait for a nonce; at most `limit`. The agents take turns, and each
    /// agent's oldest drafts come first, so thousands of drafts of one agent do not delay a few of
    /// another. Drafts of the agents in `passed_over`, and those that are held by a budget, are left
    /// out. Costs a few seeks for each agent that is examined.
    ///
    /// With `one_each`, returns only the oldest draft of each wallet that has nothing signed and
    /// unmined: what a node that requires sequential nonces can accept next.
    pub fn queued(
        &self,
        turn: &QueueTurn,
        one_each: bool,
        passed_over: &HashSet<AgentId>,
        limit: usize,
    ) -> Vec<Arc<Outgoing>> {
        let waiting = |first: AgentId| {
            let from = move |agent: AgentId| Index::Queued(agent.max(first), FIRST);
            let agents = of_each_agent(&self.outbox, from, |entry| match entry {
                Index::Queued(agent, _) => Some((agent, Timestamp::EPOCH)),
                _ => None,
            });
            agents.map(|(agent, _)| agent)
        };
        let unread = |agent| {
            let after = turn.after(agent);
            let (from, most) = if one_each { (FIRST, 1) } else { (after, limit) };
            let ends = (
                Bound::Excluded(Index::Queued(agent, from)),
                Bound::Included(Index::Queued(agent, LAST)),
            );
            let queued = self.outbox.entries(ends).take(most);
            queued.map(|(_, id)| id).filter(move |id| *id > after)
        };
        let is_busy = |agent| {
            let open = Index::Open(agent, FIRST)..=Index::Open(agent, LAST);
            self.outbox.entries(open).next().is_some()
        };
        let has_turn = |agent: &AgentId| {
            let waits = passed_over.contains(agent) || (one_each && is_busy(*agent));
            !waits && unread(*agent).next().is_some()
        };
        let first = AgentId(i64::MIN);
        let before = waiting(first).take_while(|agent| Some(*agent) <= turn.last);
        let behind = waiting(turn.last.map_or(first, after));
        let agents = behind.chain(before).filter(has_turn);
        let agents: Vec<AgentId> = agents.take(limit).collect();
        let share = (limit / agents.len().max(1)).max(1);
        let drafts = agents.into_iter().flat_map(|id| unread(id).take(share));
        drafts.filter_map(|id| self.outbox.get(&id)).collect()
    }

    /// The agents with drafts that wait for a budget.
    pub fn agents_held(&self) -> HashSet<AgentId> {
        let from = |agent| Index::Held(agent, "", String::new(), FIRST);
        let agents = of_each_agent(&self.outbox, from, |entry| match entry {
            Index::Held(agent, ..) => Some((agent, Timestamp::EPOCH)),
            _ => None,
        });
        agents.map(|(agent, _)| agent).collect()
    }

    /// The drafts of an agent that wait for a budget: some of the oldest of every cause, with the
    /// causes taking turns. Costs a few seeks per cause, however many wait.
    pub fn held(&self, agent: AgentId) -> Vec<Arc<Outgoing>> {
        let end = Index::Held(after(agent), "", String::new(), FIRST);
        let mut from = Index::Held(agent, "", String::new(), FIRST);
        let mut causes = Vec::new();
        while let Some((Index::Held(_, standing, sender, id), _)) =
            self.outbox.entries(from..end.clone()).next()
        {
            from = Index::Held(agent, standing, sender.clone(), LAST);
            causes.push(Index::Held(agent, standing, sender, id)..from.clone());
        }
        let each = (HELD_AT_MOST / causes.len().max(1)).max(1);
        let mut held = Vec::new();
        for of_cause in causes {
            held.extend(self.outbox.entries(of_cause).take(each).enumerate());
        }
        // First the oldest draft of each, then the second oldest of each.
        held.sort_by_key(|(place, _)| *place);
        let held = held.into_iter();
        held.filter_map(|(_, (_, id))| self.outbox.get(&id))
            .collect()
    }

    /// Whether a queued draft has expired at `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        let expired = Index::Expiry(Timestamp::EPOCH, FIRST)..Index::Expiry(now, FIRST);
        self.outbox.entries(expired).next().is_some()
    }

    /// The transactions that are signed and in no block, by agent and row: at most `limit` of those
    /// after this place.
    pub fn open_transactions(
        &self,
        after: Option<(AgentId, OutboxId)>,
        limit: usize,
    ) -> Vec<OpenTransaction> {
        let (agent, id) = after.unwrap_or((AgentId(i64::MIN), FIRST));
        let ends = (
            Bound::Excluded(Index::Open(agent, id)),
            Bound::Included(Index::Open(AgentId(i64::MAX), LAST)),
        );
        let open = self.outbox.entries(ends).take(limit);
        open.filter_map(|(_, id)| self.open_transaction(id))
            .collect()
    }

    /// The signed bytes of a transaction that may be posted: one that is in no block.
    pub fn body(&self, id: OutboxId) -> Option<Arc<str>> {
        let open = self.outbox.get(&id).filter(|row| row.is_open())?;
        open.signed.as_ref().map(|signed| Arc::clone(&signed.body))
    }

    /// The blocks above a height that could not be read completely.
    pub fn gaps_above(&self, height: BlockHeight) -> Vec<BlockHeight> {
        let gaps = self.gaps.range((Bound::Excluded(height), Bound::Unbounded));
        gaps.map(|gap| gap.height).collect()
    }

    /// The highest mined nonce of a wallet, of those from `counter` on that a node which is behind
    /// may not have counted yet. A nonce far above it does not come from a counter: it was assigned
    /// under the policy `timestamp`.
    pub fn last_mined_nonce(&self, agent: AgentId, counter: Nonce) -> Option<Nonce> {
        let end = Nonce::new(counter.get().saturating_add(COUNTER_LAG));
        let sent = |nonce| Index::Nonce(agent, nonce, FIRST);
        let sent = self.outbox.last(sent(counter)..sent(end));
        let seen = |nonce| sighting::Index::Nonce(agent, nonce, i64::MIN);
        let seen = self.sightings.last(seen(counter)..seen(end));
        let sent = sent.and_then(|sent| Some(sent.signed.as_ref()?.nonce));
        sent.max(seen.and_then(|seen| seen.nonce))
    }
}
