//! What was seen on the chain: messages, transactions of hosted wallets, withdrawn blocks.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use agentry_protocol::{BlockHash, BlockHeight, MessageDigest, Timestamp, TransactionHash};

use super::row::{agent, inbox, outbox};
use super::sightings::Seen;
use super::usage::Kind;
use super::{Refusal, State, next, row};
use crate::Authenticity;
use crate::cause::Cause;
use crate::commit::{Arrival, Backfill, Changes, Observation, OwnTransaction, Step};
use crate::rows::{AgentId, InboxId, InboxState, OutboxId, OutboxState};

/// How many waiting messages of a sender are looked at for the one that another is about.
const LOOKED_AT: usize = 64;

impl State {
    pub(super) fn observe(
        &mut self,
        observation: &Observation,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let at = observation.at;
        for step in &observation.steps {
            match step {
                Step::Arrival(arrival) => self.arrive(arrival, at, changes)?,
                Step::Sighting {
                    agent,
                    hash,
                    own,
                    height,
                    block_hash,
                } => {
                    let block = (*height, *block_hash);
                    let seen = Seen {
                        block: Some(block),
                        mark: observation.catching_up,
                        at,
                        latest: at,
                    };
                    self.sighted(*agent, *hash, own.as_deref(), (block, seen), changes)?;
                }
                Step::Pending {
                    agent,
                    hash,
                    own,
                    latest,
                } => {
                    let seen = Seen {
                        block: None,
                        mark: observation.catching_up,
                        at,
                        latest: *latest,
                    };
                    self.pending(*agent, *hash, own.as_deref(), seen, changes)?;
                }
                Step::Card(card) => self.card_seen(card, changes),
                Step::Withdrawn { above } => self.withdraw(*above, changes),
                Step::Gap { height, reason } => self.gap(*height, reason, at),
                Step::GapFilled { height } => {
                    self.gaps.remove(height);
                }
            }
        }
        self.tidy_cards(observation.final_through, changes);
        if let Some(through) = observation.final_through {
            self.finalise(through, at);
        }
        self.facts.cursor = Some(Arc::new(observation.cursor.clone()));
        Ok(())
    }

    /// Applies a step of the directory backfill: cards in blocks below the watched ones.
    pub(super) fn backfill(&mut self, backfill: &Backfill, changes: &mut Changes) {
        for step in &backfill.steps {
            match step {
                Step::Card(card) => self.card_seen(card, changes),
                // Cards above the backfill's position were seen by the watcher of the head, perhaps
                // after the reorganisation. The watcher withdraws them itself.
                Step::Withdrawn { above } => {
                    if let Some(read) = backfill.read_before {
                        self.delete_cards(*above, read, changes);
                        self.delete_gaps(*above, read);
                    }
                }
                Step::Gap { height, reason } => self.gap(*height, reason, backfill.at),
                Step::GapFilled { height } => {
                    self.gaps.remove(height);
                }
                // The watcher of the head handles these steps.
                Step::Arrival(_) | Step::Sighting { .. } | Step::Pending { .. } => {}
            }
        }
        if let Some(from) = backfill.known_from {
            self.facts.directory_from = Some(from);
        }
        self.facts.directory_progress = backfill.progress.clone().map(Arc::new);
        self.tidy_cards(backfill.final_through, changes);
    }

    /// Mined transactions in blocks up to `through` are final.
    fn finalise(&mut self, through: BlockHeight, at: Timestamp) {
        let lowest = outbox::Index::Mined(BlockHeight(0), OutboxId(i64::MIN));
        let highest = outbox::Index::Mined(through, OutboxId(i64::MAX));
        let mined: Vec<_> = self
            .outbox
            .range(lowest..=highest)
            .map(|row| (row.id, row.agent, row.cause.clone()))
            .collect();
        let mut settled = BTreeSet::new();
        for (id, agent, cause) in mined {
            self.outbox.change(&id, |row| {
                row.state = OutboxState::Final;
                row.settled_at = Some(at);
            });
            settled.insert((agent, cause));
        }
        self.bound_settled(&settled);
    }

    /// The rows of the outbox with this hash or this digest that belong to the agent.
    fn matching(
        &self,
        agent: AgentId,
        hash: TransactionHash,
        digest: Option<MessageDigest>,
    ) -> (Vec<OutboxId>, Option<OutboxId>) {
        let by_hash = self
            .with_hash(hash)
            .filter(|row| row.agent == agent)
            .map(|row| row.id)
            .collect();
        let by_digest = digest
            .and_then(|digest| self.outbox.find(&outbox::Index::Digest(digest)))
            .filter(|row| row.agent == agent)
            .map(|row| row.id);
        (by_hash, by_digest)
    }

    /// A hosted wallet's transaction is included in a block. A failed transaction can be mined
    /// nevertheless: the chain decides.
    fn sighted(
        &mut self,
        agent: AgentId,
        hash: TransactionHash,
        own: Option<&OwnTransaction>,
        (block, seen): ((BlockHeight, Option<BlockHash>), Seen),
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let at = seen.at;
        let (by_hash, by_digest) = self.matching(agent, hash, own.map(|own| own.digest));
        let ids = if by_hash.is_empty() {
            by_digest.into_iter().collect()
        } else {
            by_hash
        };
        if let (true, Some(own)) = (ids.is_empty(), own) {
            return self.keep_sighting(agent, hash, own, seen, changes);
        }
        for id in ids {
            let mut was_failed = false;
            self.outbox.change(&id, |row| {
                // A final one stays in its block, whatever another block shows.
                if row.state == OutboxState::Final {
                    return;
                }
                was_failed = row.state == OutboxState::Failed;
                // Somebody has spelled the signature in another way. Whoever answers the message names
                // the transaction that has carried it first.
                if row.state != OutboxState::Mined
                    && let Some(signed) = &mut row.signed
                {
                    signed.hash = hash;
                }
                row.state = OutboxState::Mined;
                row.settled_at = None;
                if row.block.is_none_or(|(height, _)| height != block.0) {
                    row.mined_at = Some(at);
                }
                row.block = Some(block);
                row.reason = None;
                row.accepted_at.get_or_insert(at);
            });
            if was_failed {
                let paid = self.charge_again(id, at.day());
                changes.recharged.extend(paid);
            }
            self.receipt_mined(id, block.0, at, changes);
            changes.mined.push((id, hash));
        }
        Ok(())
    }

    /// The node has a hosted wallet's transaction pending. If the transaction is not known to have
    /// been posted, it is no longer posted.
    fn pending(
        &mut self,
        agent: AgentId,
        hash: TransactionHash,
        own: Option<&OwnTransaction>,
        seen: Seen,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let (by_hash, by_digest) = self.matching(agent, hash, own.map(|own| own.digest));
        let known: BTreeSet<_> = by_hash.into_iter().chain(by_digest).collect();
        for id in &known {
            self.outbox.change(id, |row| {
                if row.state == OutboxState::Prepared {
                    row.state = OutboxState::Accepted;
                    row.accepted_at.get_or_insert(seen.at);
                }
            });
        }
        match own {
            Some(own) if known.is_empty() => self.keep_sighting(agent, hash, own, seen, changes),
            _ => Ok(()),
        }
    }

    /// A height could not be read completely.
    fn gap(&mut self, height: BlockHeight, reason: &str, at: Timestamp) {
        let since = self.gaps.get(&height).map_or(at, |gap| gap.since);
        self.gaps.put(row::Gap {
            height,
            reason: reason.to_owned(),
            since,
        });
    }

    fn delete_gaps(&mut self, above: Option<BlockHeight>, through: BlockHeight) {
        let from = above.map_or(Bound::Unbounded, Bound::Excluded);
        let gaps = self.gaps.range((from, Bound::Included(through)));
        let heights: Vec<_> = gaps.map(|gap| gap.height).collect();
        for height in heights {
            self.gaps.remove(&height);
        }
    }

    fn arrive(
        &mut self,
        arrival: &Arrival,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let agent = arrival.agent;
        self.check_agent(agent)?;
        let hosted = self.agents.get(&agent);
        if hosted.is_some_and(|hosted| arrival.height < hosted.start_height) {
            return Ok(());
        }
        if arrival.authenticity == Authenticity::Forged {
            if self.forged.get(&(agent, arrival.hash)).is_none() {
                self.forged.put(row::Forged {
                    agent,
                    hash: arrival.hash,
                    sender: arrival.sender.clone(),
                    height: arrival.height,
                    stored: arrival.stored.as_str().into(),
                    seen_at: at,
                    order: next(&mut self.facts.ids.forged),
                });
                changes.arrived += 1;
            }
            self.bound_forged(agent);
            return Ok(());
        }
        match self.arrived(arrival).map(|known| (known.id, known.state)) {
            None => self.add_message(arrival, at, changes),
            Some((id, state)) => {
                // The same message again: after a reorganisation, respelled, or replayed. Its new
                // place matters only if it is in no other block.
                let seq = self.next_return();
                self.inbox.change(&id, |row| {
                    if row.height.is_none() {
                        row.height = Some(arrival.height);
                        row.hash = arrival.hash;
                        row.seq = seq;
                        if row.state == InboxState::Withdrawn {
                            row.state = InboxState::Waiting;
                        }
                    }
                });
                changes.repeated += 1;
                // A waiting one counts, too: when the chain is read again, no agent may have been
                // woken for it.
                if matches!(state, InboxState::Withdrawn | InboxState::Waiting) {
                    changes.due.push(agent);
                }
            }
        }
        Ok(())
    }

    /// The message that arrives, if it has arrived before, perhaps in another transaction.
    pub fn arrived(&self, arrival: &Arrival) -> Option<Arc<row::Message>> {
        let (agent, sender) = (arrival.agent, arrival.sender.clone());
        let by_identity = inbox::Index::Identity(agent, sender, arrival.identity.clone());
        // Also by its digest: it identifies a message whose sender was verified only later.
        let by_digest = inbox::Index::Digest(agent, arrival.digest);
        let known = self.inbox.find(&by_identity);
        known.or_else(|| self.inbox.find(&by_digest))
    }

    /// The place of a message that returns: after all that have arrived and returned so far.
    fn next_return(&self) -> i64 {
        let last = self.facts.ids.inbox * inbox::RETURNS;
        let from = inbox::Index::Returned(last, InboxId(i64::MIN));
        let to = inbox::Index::Returned(i64::MAX, InboxId(i64::MAX));
        let returned = self.inbox.last(from..=to);
        returned.map_or(last, |row| row.seq) + 1
    }

    fn add_message(&mut self, arrival: &Arrival, at: Timestamp, changes: &mut Changes) {
        let agent = arrival.agent;
        let cause = Cause::of(arrival.standing, &arrival.sender);
        let bytes = arrival.stored.len() as u64;
        let full = self
            .make_room(agent, Kind::Message, &cause, bytes)
            .map(|reason| format!("refused, and its content was not stored: {reason}"));
        let stored = if full.is_some() { "" } else { &arrival.stored };
        changes.refused += usize::from(full.is_some());
        let refused = full
            .or_else(|| arrival.refused.clone())
            .or_else(|| self.pruned_id_refusal(arrival));
        let id = next(&mut self.facts.ids.inbox);
        let is_refused = refused.is_some();
        self.inbox.put(row::Message {
            id: InboxId(id),
            agent,
            digest: arrival.digest,
            hash: arrival.hash,
            sender: arrival.sender.clone(),
            height: Some(arrival.height),
            stored: stored.into(),
            authenticity: arrival.authenticity,
            standing: arrival.standing,
            state: if is_refused {
                InboxState::Dead
            } else {
                InboxState::Waiting
            },
            seq: id * inbox::RETURNS,
            attempts: 0,
            due_at: Timestamp::EPOCH,
            reason: refused,
            seen_at: at,
            settled_at: is_refused.then_some(at),
            identity: arrival.identity.clone(),
            re: arrival.re,
            thread: arrival.thread.clone(),
            expires_at: arrival.expires_at,
            urgent: arrival.urgent && !self.would_overtake(arrival),
            rejected: None,
            done: BTreeSet::new(),
        });
        changes.arrived += 1;
        if !is_refused {
            changes.due.push(agent);
        }
    }

    /// Whether a message is about another one of its sender that waits, as the cancellation of a job
    /// is: it does not go before that one. Of many that wait, the first are looked at.
    fn would_overtake(&self, arrival: &Arrival) -> bool {
        let Some(re) = arrival.re else { return false };
        let waiting = |due_at, seq, id| {
            let (lane, sender) = (inbox::Lane::Verified, Some(arrival.sender.clone()));
            inbox::Index::Waiting(arrival.agent, lane, sender, due_at, seq, InboxId(id))
        };
        let first = waiting(Timestamp::EPOCH, i64::MIN, i64::MIN);
        let last = waiting(Timestamp::MAX, i64::MAX, i64::MAX);
        let mut waiting = self.inbox.entries(first..=last).take(LOOKED_AT);
        waiting.any(|(_, id)| self.inbox.get(&id).is_some_and(|row| row.hash == re))
    }

    /// Why a message is refused whose id may have been known before: the id is as old as ids that
    /// were pruned, whatever the clock says now.
    fn pruned_id_refusal(&self, arrival: &Arrival) -> Option<String> {
        let pruned = self.facts.ids_from?.to_string();
        let has_id = arrival.identity != arrival.digest.to_string();
        (has_id && pruned > arrival.identity).then(|| {
            "its id is so old that the message may have been handled and pruned".to_owned()
        })
    }

    fn withdraw(&mut self, above: Option<BlockHeight>, changes: &mut Changes) {
        let first = above.map_or(0, |above| above.0.saturating_add(1));
        let first = BlockHeight(first);
        let highest = BlockHeight(u64::MAX);
        let from = inbox::Index::Height(first, InboxId(i64::MIN));
        let to = inbox::Index::Height(highest, InboxId(i64::MAX));
        let messages: Vec<_> = self.inbox.range(from..=to).map(|row| row.id).collect();
        for id in messages {
            self.inbox.change(&id, |row| {
                row.height = None;
                if row.state == InboxState::Waiting {
                    row.state = InboxState::Withdrawn;
                }
            });
        }
        self.withdraw_cards(above, changes);
        self.withdraw_sightings(first);
        self.delete_gaps(above, highest);
        // What the following blocks hold is new, also for an agent that started above them.
        let later = agent::Index::Start(first, AgentId(i64::MAX));
        let last = agent::Index::Start(highest, AgentId(i64::MAX));
        let later = self
            .agents
            .range((Bound::Excluded(later), Bound::Included(last)));
        let agents: Vec<_> = later.map(|agent| agent.id).collect();
        for agent in agents {
            self.agents.change(&agent, |row| row.start_height = first);
        }
        let since = above.unwrap_or(BlockHeight(0));
        let from = outbox::Index::Since(first.max(BlockHeight(1)), OutboxId(i64::MIN));
        let to = outbox::Index::Since(highest, OutboxId(i64::MAX));
        let read: Vec<_> = self.outbox.range(from..=to).map(|row| row.id).collect();
        for id in read {
            self.outbox.change(&id, |row| row.since = Some(since));
        }
        let ids = (OutboxId(i64::MIN), OutboxId(i64::MAX));
        let mined = outbox::Index::Mined(first, ids.0)..=outbox::Index::Mined(highest, ids.1);
        let settled = outbox::Index::Final(first, ids.0)..=outbox::Index::Final(highest, ids.1);
        let mined = self.outbox.range(mined).chain(self.outbox.range(settled));
        let mined: Vec<_> = mined.map(|row| row.id).collect();
        for id in mined {
            self.outbox.change(&id, |row| {
                row.since = row.since.min(Some(since));
                row.state = OutboxState::Accepted;
                row.block = None;
                row.mined_at = None;
                row.settled_at = None;
                row.reason = Some("withdrawn by a reorganisation".to_owned());
            });
            self.receipt_withdrawn(id);
            changes.reopened.extend(self.open_transaction(id));
        }
    }
}
