//! The receipts of sent messages: what is known about their delivery, and who is told.

use std::sync::Arc;

use agentry_protocol::{BlockHeight, Envelope, Timestamp};

use super::events::New;
use super::row::Tracking;
use super::{Refusal, State};
use crate::cause::Cause;
use crate::commit::{Changes, CommitResult};
use crate::delivery::{DeliveryData, DeliveryUpdate};
use crate::origin::Origin;
use crate::rows::{AgentId, Draft, EventKind, OutboxId, Prepared, ReceiptRequest, ReceiptState};

impl State {
    /// Adds the receipt of a message for which delivery updates were requested.
    pub(super) fn track(
        &mut self,
        outbox: OutboxId,
        agent: AgentId,
        request: &ReceiptRequest,
        at: Timestamp,
    ) {
        self.receipts.put(Tracking {
            outbox,
            agent,
            behaviour: request.behaviour.clone(),
            label: request.label.clone(),
            wanted: request.wanted.clone(),
            state: ReceiptState::Open,
            detail: None,
            within_ms: request.within_ms,
            resends_left: request.resends,
            mined: false,
            due_at: None,
            changed_at: at,
        });
    }

    /// The receipt of the message that this transaction carried, if there is one, and who caused
    /// the message.
    fn receipt_of(&self, outbox: OutboxId) -> Option<(Arc<Tracking>, Cause)> {
        let row = self.outbox.get(&outbox)?;
        let receipt = self.receipts.get(&row.first())?;
        Some((receipt, row.cause.clone()))
    }

    /// Sends a delivery update to the behaviour that sent a message under a label.
    fn tell_sender(
        &mut self,
        (row, cause): &(Arc<Tracking>, Cause),
        update: &DeliveryUpdate,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let (Some(behaviour), Some(label)) = (&row.behaviour, &row.label) else {
            return;
        };
        let data = DeliveryData::stored(row.outbox, update);
        let Some(sent) = self.outbox.get(&row.outbox) else {
            return;
        };
        let new = New {
            origin: Origin::of_delivery(&sent.origin, update, at),
            agent: row.agent,
            behaviour,
            kind: EventKind::Delivery,
            name: label,
            data: &data,
            inbox: None,
            due_at: at.plus_ms(update.pause_ms(row.mined)),
            cause,
            anchor: None,
            trail: Envelope::read(&sent.payload).trail(),
        };
        self.add_event(new, at);
        changes.due.push(row.agent);
    }

    /// A transaction is mined: the time limit for an acknowledgment starts.
    pub(super) fn receipt_mined(
        &mut self,
        outbox: OutboxId,
        height: BlockHeight,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(found) = self.receipt_of(outbox) else {
            return;
        };
        let row = &found.0;
        let awaited = row.state.awaits(row.wanted.as_deref());
        self.receipts.change(&row.outbox, |row| {
            if awaited {
                row.due_at = Some(at.plus_ms(row.within_ms));
            }
            row.mined = true;
        });
        if awaited {
            // The agent reads the due time.
            changes.due.push(row.agent);
        }
        if !row.mined {
            self.tell_sender(&found, &DeliveryUpdate::Mined { height }, at, changes);
        }
    }

    /// Advances the state of a receipt. It never moves to a lower rank.
    pub(super) fn acknowledge(
        &mut self,
        outbox: OutboxId,
        state: ReceiptState,
        detail: Option<&str>,
        at: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(found) = self.receipt_of(outbox) else {
            return;
        };
        let row = &found.0;
        if state.rank() <= row.state.rank() {
            return;
        }
        if state == ReceiptState::Unsent && row.outbox != outbox {
            self.resend_failed(row, at, changes);
            return;
        }
        let over = state.rank() >= ReceiptState::Unacknowledged.rank()
            || row.wanted.as_deref() == Some("received");
        let detail = detail.map(ToOwned::to_owned);
        self.receipts.change(&row.outbox, |row| {
            row.state = state;
            row.detail.clone_from(&detail);
            row.changed_at = at;
            if over {
                row.due_at = None;
            }
        });
        if let Some(update) = state.update(detail) {
            self.tell_sender(&found, &update, at, changes);
        }
    }

    /// Sends a message again because it was not acknowledged in time.
    pub(super) fn resend(
        &mut self,
        outbox: OutboxId,
        resends_left: u32,
        draft: &Draft,
        prepared: Option<&Prepared>,
        at: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), Refusal> {
        let overdue = self
            .receipts
            .get(&outbox)
            .filter(|row| row.resends_left == resends_left && row.due_at.is_some());
        let (Some(agent), Some(left)) = (overdue.map(|row| row.agent), resends_left.checked_sub(1))
        else {
            changes.result = CommitResult::Stale;
            return Ok(());
        };
        self.receipts.change(&outbox, |row| {
            row.resends_left = left;
            row.due_at = None;
            row.changed_at = at;
        });
        let sent = self.enqueue((agent, None), draft, prepared, at, changes)?;
        self.outbox
            .change(&sent.id(), |row| row.resend_of = Some(outbox));
        changes.sends.push(sent);
        Ok(())
    }

    /// A message was not sent again. That says nothing about the transactions that carried it before,
    /// but no other one will bring the acknowledgment: it is overdue.
    fn resend_failed(&mut self, row: &Tracking, at: Timestamp, changes: &mut Changes) {
        let first = self.outbox.get(&row.outbox);
        let is_mined = first.is_some_and(|first| first.block.is_some());
        if is_mined && row.state.awaits(row.wanted.as_deref()) {
            self.receipts.change(&row.outbox, |row| {
                row.due_at.get_or_insert(at);
            });
            changes.due.push(row.agent);
        }
    }

    /// Blocks were withdrawn: the receipt of a message in them waits for the message to be mined
    /// again.
    pub(super) fn receipt_withdrawn(&mut self, outbox: OutboxId) {
        let Some(first) = self.outbox.get(&outbox).map(|row| row.first()) else {
            return;
        };
        self.receipts.change(&first, |row| row.due_at = None);
    }

    /// An operator retries a message that was not sent.
    pub(super) fn reopen_receipt(&mut self, outbox: OutboxId) {
        self.receipts.change(&outbox, |row| {
            if matches!(row.state, ReceiptState::Unsent | ReceiptState::Expired) {
                row.state = ReceiptState::Open;
                row.detail = None;
            }
        });
    }
}
