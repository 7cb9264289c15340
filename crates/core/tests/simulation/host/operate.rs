//! Operators, and the passing of time.

use agentry_core::Commit;
use agentry_core::commit::{HeldEffect, QueueTarget};
use agentry_core::rows::{Draft, OutboxState, TaskState};
use agentry_protocol::{Amount, Header, Limits, StoredTransaction};

use super::{Broken, Checked, Clocks, Host};
use crate::peers::{self, FEE, HOSTED, Kind};

/// How long handled messages are kept, in milliseconds.
const RETENTION: u64 = 10 * 60 * 1000;

impl Host {
    /// An operator sends a message from one of the hosted wallets to another.
    pub(crate) fn send(&mut self, from: usize, kind: Kind, number: u32, clocks: Clocks) -> Checked {
        let to = peers::address((from + 1) % HOSTED).clone();
        let id = Some(self.id(clocks));
        let header = Header {
            id,
            ..Header::default()
        };
        let payload = peers::payload(peers::message(kind, number), Some(&header));
        let send = Commit::Send {
            agent: self.agent(from),
            draft: Draft {
                message_id: id,
                ..Draft::new(format!("send/{number}"), to, Amount(FEE), payload)
            },
            prepared: None,
            token: None,
            at: self.now(clocks),
        };
        self.commit(send, clocks)?;
        Ok(())
    }

    /// An operator grants one of the effects that wait for approval. Returns its origin.
    pub(crate) fn grant(&mut self, which: u8, clocks: Clocks) -> Result<Option<String>, Broken> {
        let outgoing = self.state.outbox().iter();
        let outgoing = outgoing.filter(|row| row.unapproved && row.state == OutboxState::Queued);
        let outgoing = outgoing.map(|row| (HeldEffect::Outbox(row.id), row.origin.clone()));
        let tasks = self.state.tasks().iter();
        let tasks = tasks.filter(|row| row.unapproved && row.state == TaskState::Submitted);
        let tasks = tasks.map(|row| (HeldEffect::Task(row.id), row.origin.to_string()));
        let mut all: Vec<_> = outgoing.chain(tasks).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let (effect, origin) = all.swap_remove(usize::from(which) % all.len());
        let decide = Commit::Decide {
            effect,
            granted: true,
            reason: None,
            at: self.now(clocks),
        };
        self.commit(decide, clocks)?;
        Ok(Some(origin))
    }

    /// An operator retries everything.
    pub(crate) fn retry(&mut self, clocks: Clocks) -> Checked {
        let at = self.now(clocks);
        let target = QueueTarget::All;
        self.commit(Commit::Retry { target, at }, clocks)?;
        Ok(())
    }

    /// An operator drops a message or a transaction. Returns the number in it.
    pub(crate) fn discard(&mut self, which: u8, clocks: Clocks) -> Result<Option<u32>, Broken> {
        let messages = self.state.inbox().iter();
        let messages = messages.map(|row| QueueTarget::Inbox(row.id));
        let outgoing = self.state.outbox().iter();
        let outgoing = outgoing
            .filter(|row| matches!(row.state, OutboxState::Queued | OutboxState::Failed))
            .map(|row| QueueTarget::Outbox(row.id));
        let all: Vec<_> = messages.chain(outgoing).collect();
        let Some(target) = all.get(usize::from(which) % all.len().max(1)).cloned() else {
            return Ok(None);
        };
        let text = self.text_of(&target);
        let at = self.now(clocks);
        let changes = self.commit(Commit::Drop { target, at }, clocks)?;
        Ok(text
            .filter(|_| changes.rows > 0)
            .and_then(|text| peers::number(&text)))
    }

    fn text_of(&self, target: &QueueTarget) -> Option<String> {
        match target {
            QueueTarget::Inbox(id) => {
                let stored = &self.state.inbox().get(id)?.stored;
                let stored = StoredTransaction::parse(stored.as_bytes(), Limits::default()).ok()?;
                peers::text(&stored.payload)
            }
            QueueTarget::Outbox(id) => peers::text(&self.state.outbox().get(id)?.payload),
            QueueTarget::Event(_) | QueueTarget::All | QueueTarget::Matching(_) => None,
        }
    }

    /// Deletes what is older than the retention, by the blocks' time.
    pub(crate) fn prune(&mut self, clocks: Clocks) -> Checked {
        let at = self.confirmed.min(self.now(clocks));
        let before = at.minus_ms(RETENTION);
        self.commit(Commit::Prune { before, at }, clocks)?;
        Ok(())
    }
}
