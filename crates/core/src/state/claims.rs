//! Recognises messages that would be sent again and that the chain already shows.
//!
//! After a restore from a backup, or with a new store, behaviours see messages again that they have
//! already acted on. That rebuilds their state, but their replies are already on the chain. So an
//! outcome's draft claims the [sighting](super::sightings) that is the same message: the draft
//! becomes that transaction, already mined, and is neither signed nor posted.
//!
//! | a draft that … | claims … |
//! |---|---|
//! | names what it answers (`re`) | an answer to the same message, to the same recipient, of the same kind |
//! | is a text without a header, and an answer | the first such text to the same recipient, from the question's block on; an identical text is preferred |
//! | answers nothing | a message with the same content, to the same recipient |
//! | has an id that is on the chain | that message: it was sent again |
//!
//! A sighting is claimed only if it was seen before agents acted, only once, and only if it is not
//! older than what the draft follows from: what an agent says later is new, however much it
//! resembles an earlier message. An answer that names its question may be older: a reorganisation
//! can put the question above it. What an operator sends matches a transaction on the chain only by
//! the same id or the same bytes.

use std::sync::Arc;

use agentry_protocol::{
    Address, BlockHeight, KnownCommand, Limits, MessageId, Payload, SignedTransaction, Timestamp,
    TransactionHash,
};

use super::row::{Sighting, sighting};
use super::{Refusal, State};
use crate::TaskOutput;
use crate::commit::{Changes, TaskEnd};
use crate::delivery::DeliveryData;
use crate::fingerprint::{Fingerprint, JOB_END};
use crate::rows::{AgentId, Draft, EventKind, EventRef, InboxId, OutboxId, OutboxState, Prepared};

/// What a draft follows from. Nothing older is the same message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    /// Something in a block at this height.
    Block(BlockHeight),
    /// A message whose block was withdrawn. Only what names it is known to follow from it.
    Withdrawn,
    /// A timer. A timer that was set before the chain was read up to its head has either fired
    /// before that or has sent nothing yet. A timer that was set later was set again, by a message
    /// in a block, if that block is known.
    Timer {
        /// When it was set.
        made_at: Timestamp,
        /// When it was due.
        due_at: Timestamp,
        /// The block of the message that set it, if it is known.
        block: Option<BlockHeight>,
    },
}

/// How much later than a message was seen the timer that sent it may have been due, in
/// milliseconds: the time of a sighting is that of blocks, and the clock of the node that made them
/// may be behind.
const SKEW_MS: u64 = 10_000;

impl Anchor {
    /// The block of the message that everything follows from, if it is known.
    pub(super) const fn block(self) -> Option<BlockHeight> {
        match self {
            Self::Block(height) => Some(height),
            // A timer that a timer sets is new. Otherwise timers that set themselves again would
            // stay silent for as long as the store is old.
            Self::Timer { .. } | Self::Withdrawn => None,
        }
    }

    /// Whether a sighting is not older than this. An answer that names its question is never too old:
    /// a reorganisation may have put the question above it, or removed the question.
    fn precedes(self, sighting: &Sighting) -> bool {
        let from = |block: BlockHeight| sighting.block.is_none_or(|height| height >= block);
        match self {
            Self::Block(_) | Self::Withdrawn if sighting.re.is_some() => true,
            Self::Block(block) => from(block),
            Self::Withdrawn => false,
            Self::Timer { made_at, block, .. } if made_at >= sighting.seen_at => {
                block.is_some_and(from)
            }
            Self::Timer { due_at, .. } => due_at.minus_ms(SKEW_MS) <= sighting.seen_at,
        }
    }
}

/// A draft that was just stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) id: OutboxId,
    pub(super) draft: &'a Draft,
    pub(super) prepared: Option<&'a Prepared>,
}

/// Whether a draft is an answer: answers to the same question match whatever they say.
fn is_answer(says: &Fingerprint, anchor: Anchor) -> bool {
    says.re.is_some() || (says.is_plain() && matches!(anchor, Anchor::Block(_)))
}

impl State {
    /// What the drafts of an event follow from; `None` if that is not known.
    pub(super) fn anchor(&self, event: EventRef) -> Option<Anchor> {
        let of_message = |id: &InboxId| {
            let height = self.inbox.get(id)?.height;
            Some(height.map_or(Anchor::Withdrawn, Anchor::Block))
        };
        let id = match event {
            EventRef::Inbox(id) => return of_message(&id),
            EventRef::Event(id) => id,
        };
        let event = self.events.get(&id)?;
        match (event.kind, &event.inbox) {
            (EventKind::Renewal | EventKind::Start | EventKind::Tick, _) => None,
            (EventKind::Timer, _) => Some(Anchor::Timer {
                made_at: event.made_at,
                // A failed or postponed run has moved the time.
                due_at: if event.attempts == 0 && event.reason.is_none() {
                    event.due_at
                } else {
                    event.made_at
                },
                block: event.anchor,
            }),
            (_, Some(inbox)) => of_message(inbox),
            (EventKind::Delivery, None) => {
                let outbox = DeliveryData::read(&event.data)?.outbox;
                let (height, _) = self.outbox.get(&outbox)?.block?;
                Some(Anchor::Block(height))
            }
            (EventKind::Settled | EventKind::Task, None) => None,
        }
    }

    /// Claims the drafts of one outcome that are on the chain already. Returns their rows.
    pub(super) fn claim(
        &mut self,
        agent: AgentId,
        anchor: Option<Anchor>,
        drafts: &[Stored<'_>],
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<Vec<OutboxId>, Refusal> {
        let mut claimed = Vec::new();
        let Some(anchor) = anchor else {
            return Ok(claimed);
        };
        let left: Vec<(Stored<'_>, Fingerprint)> = drafts
            .iter()
            .filter(|stored| {
                self.claimable(agent, &stored.draft.recipient)
                    .next()
                    .is_some()
            })
            .map(|stored| (*stored, Fingerprint::of(&stored.draft.payload)))
            .collect();
        // Identical ones first: each of several answers must find its own.
        for exact in [true, false] {
            for (stored, says) in &left {
                if claimed.contains(&stored.id) || !(exact || is_answer(says, anchor)) {
                    continue;
                }
                let found = self
                    .claimable(agent, &stored.draft.recipient)
                    .filter(|row| row.kind == says.kind && row.re == says.re)
                    .filter(|row| row.amount == Some(stored.draft.amount) && row.nonce.is_some())
                    .filter(|row| anchor.precedes(row))
                    .filter(|row| !exact || row.content == says.content)
                    .min_by_key(|row| row.place())
                    .map(|row| row.id);
                if let Some(found) = found {
                    self.take(stored.id, stored.prepared, found, at, changes)?;
                    claimed.push(stored.id);
                }
            }
        }
        Ok(claimed)
    }

    /// The sightings that a message to this recipient might claim by its content.
    fn claimable(
        &self,
        agent: AgentId,
        recipient: &Address,
    ) -> impl Iterator<Item = Arc<Sighting>> {
        let to = |id| sighting::Index::Recipient(agent, recipient.clone(), id);
        self.sightings.range(to(i64::MIN)..=to(i64::MAX))
    }

    /// Looks for an earlier transaction of a row of the outbox that is about to be signed: one with
    /// the id in its header or, if it has no id and was queued before this store knew what the
    /// chain shows, one with the same content. Returns whether there was one.
    pub(super) fn claim_queued(
        &mut self,
        id: OutboxId,
        prepared: &Prepared,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<bool, Refusal> {
        let Some(row) = self.outbox.get(&id) else {
            return Ok(false);
        };
        if row.state != OutboxState::Queued {
            return Ok(false);
        }
        let same = |found: &Arc<Sighting>| {
            found.recipient == row.recipient
                && found.amount == Some(row.amount)
                && found.nonce.is_some()
        };
        let found = match row.message_id {
            Some(message) => self
                .with_message_id(row.agent, message)
                .filter(same)
                .min_by_key(|found| found.place()),
            None if self.claimable(row.agent, &row.recipient).next().is_some() => {
                let says = Fingerprint::of(&row.payload);
                self.claimable(row.agent, &row.recipient)
                    .filter(same)
                    .filter(|found| found.kind == says.kind && found.content == says.content)
                    .filter(|found| found.mark >= Some(id))
                    .filter(|found| found.re.is_none() && found.message_id.is_none())
                    .min_by_key(|found| found.place())
            }
            None => None,
        };
        match found.map(|found| found.id) {
            Some(found) => self
                .take(id, Some(prepared), found, at, changes)
                .map(|()| true),
            None => Ok(false),
        }
    }

    fn with_message_id(
        &self,
        agent: AgentId,
        message: MessageId,
    ) -> impl Iterator<Item = Arc<Sighting>> {
        let with = |id| sighting::Index::Message(agent, message, id);
        self.sightings.range(with(i64::MIN)..=with(i64::MAX))
    }

    /// Turns a row of the outbox into a sighting. If something was signed for the row, it was paid
    /// for, and what was signed is discarded.
    fn take(
        &mut self,
        id: OutboxId,
        prepared: Option<&Prepared>,
        found: i64,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        if let Some(prepared) = prepared {
            self.charge(id, prepared.day);
        }
        self.take_over(id, found, at, changes)
    }

    /// How a job ended, if the chain shows that it has, and how long it took, in milliseconds. The
    /// job is given by the message that asked for it and the key of its task, which is the hash of
    /// that message's transaction.
    pub(super) fn job_end(
        &self,
        agent: AgentId,
        inbox: InboxId,
        key: &str,
    ) -> Option<(TaskEnd, u64)> {
        let message = self.inbox.get(&inbox)?;
        let job: TransactionHash = key.parse().ok()?;
        if message.hash != job {
            return None;
        }
        let answers = |id| sighting::Index::Re(agent, job, id);
        let found = self
            .sightings
            .range(answers(i64::MIN)..=answers(i64::MAX))
            .filter(|found| found.kind == JOB_END && found.recipient == message.sender)
            .min_by_key(|found| found.place())?;
        reported_end(&found.body)
    }
}

/// How a job ended, as the transaction with this body that reported it says, and how long it took, in
/// milliseconds; `None` if it reports something else.
pub(super) fn reported_end(body: &str) -> Option<(TaskEnd, u64)> {
    let signed = SignedTransaction::from_body(body.as_bytes(), Limits::default()).ok()?;
    match Payload::read(&signed.message()).command() {
        Ok(Some(KnownCommand::JobComplete(job))) => {
            let output = TaskOutput {
                text: job.result.text().to_owned(),
                media_type: job.media_type.map(|media_type| media_type.to_string()),
                incomplete: job.incomplete.map(|word| word.to_string()),
            };
            let took = job.duration_ms.unwrap_or(0);
            Some((TaskEnd::Completed(output), took))
        }
        Ok(Some(KnownCommand::JobFailed(job))) if job.error.code.as_str() == "canceled" => {
            Some((TaskEnd::Canceled, 0))
        }
        Ok(Some(KnownCommand::JobFailed(job))) => {
            let message = job.error.message;
            let told = message.map_or_else(String::new, |text| text.as_str().to_owned());
            let end = TaskEnd::Failed {
                code: job.error.code.to_string(),
                message: told.clone(),
                public: told,
            };
            Some((end, 0))
        }
        _ => None,
    }
}
