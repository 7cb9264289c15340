//! Operators, and the passing of time.

use agentry_core::Commit;
use agentry_core::commit::QueueTarget;
use agentry_core::rows::{Draft, OutboxState};
use agentry_protocol::Header;

use super::{Broken, Checked, Clocks, Host, agent};
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
            agent: agent(from),
            draft: Draft {
                message_id: id,
                ..Draft::new(format!("send/{number}"), to, FEE, payload)
            },
            prepared: None,
            at: self.now(clocks),
        };
        self.commit(send, clocks)?;
        Ok(())
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
        let messages = messages.map(|row| (QueueTarget::Inbox(row.id), row.stored.to_string()));
        let outgoing = self.state.outbox().iter();
        let outgoing = outgoing
            .filter(|row| matches!(row.state, OutboxState::Queued | OutboxState::Failed))
            .map(|row| (QueueTarget::Outbox(row.id), row.payload.to_compact()));
        let all: Vec<_> = messages.chain(outgoing).collect();
        let Some((target, text)) = all.get(usize::from(which) % all.len().max(1)).cloned() else {
            return Ok(None);
        };
        let at = self.now(clocks);
        let receipt = self.commit(Commit::Drop { target, at }, clocks)?;
        Ok((receipt.changed > 0)
            .then(|| peers::number(&text))
            .flatten())
    }

    /// Deletes what is older than the retention, by the blocks' time.
    pub(crate) fn prune(&mut self, clocks: Clocks) -> Checked {
        let at = self.confirmed.min(self.now(clocks));
        let before = at.saturating_sub(RETENTION);
        self.commit(Commit::Prune { before, at }, clocks)?;
        Ok(())
    }
}
