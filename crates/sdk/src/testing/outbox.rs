//! The messages that a hosted agent sends, and their delivery updates.

use std::collections::BTreeSet;

use agentry_protocol::command::{Ack, AckStatus};
use agentry_protocol::message::compose;
use agentry_protocol::{AckRequest, BlockHeight, Header, KnownCommand, Payload, TransactionHash};

use super::Simulation;
use super::builder::{Written, made_id};
use super::ledger::Transaction;
use super::queue::Item;
use super::sent::{Place, Sent};
use crate::{Addressed, DeliveryUpdate, Event, Message, SentMessage};

/// A message of a hosted agent.
#[derive(Debug)]
pub(super) struct Draft {
    /// The effect that sent it: unique, and the same in every run of the same history.
    pub(super) origin: String,
    pub(super) behaviour: usize,
    pub(super) sent: Sent,
    /// Its transactions that have been in a block.
    mined: BTreeSet<TransactionHash>,
    /// The rank of its last delivery update.
    rank: u8,
    resends_left: u32,
    /// The time at which its acknowledgment becomes overdue.
    pub(super) overdue_ms: Option<u64>,
}

impl Simulation {
    /// Stores a message and posts it. `about` is the message that it answers, if it is an answer.
    pub(super) fn dispatch(
        &mut self,
        host: usize,
        behaviour: usize,
        origin: &str,
        addressed: Addressed,
        about: Option<&Message>,
        sealed: bool,
    ) {
        let now = self.now_ms;
        let Addressed { to, outgoing } = addressed;
        let mut header = header_of(about, &outgoing.payload);
        let asks = outgoing.thread.is_some()
            || outgoing.expires_in.is_some()
            || outgoing.acknowledge.is_some()
            || outgoing.label.is_some()
            || outgoing.re.is_some();
        if asks || sealed {
            header = Some(header.unwrap_or_else(|| answer_to(about)));
        }
        if let Some(header) = &mut header {
            header.id = Some(made_id(now, origin));
            header.re = header.re.or(outgoing.re);
            header.thread = outgoing.thread.clone().or(header.thread.take());
            header.exp = outgoing.expires_in.map(|after| after_ms(now, after));
            header.ack = outgoing.acknowledge.map(|wanted| wanted.request);
            header.key = self.hosts.get(host).map(|host| host.party.public_key);
        }
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let hash = carrier(origin, 0);
        let name = hosted.instances.get(behaviour).map(|one| one.name.clone());
        hosted.store.outbox.push(Draft {
            origin: origin.to_owned(),
            behaviour,
            mined: BTreeSet::new(),
            rank: 0,
            resends_left: outgoing.acknowledge.map_or(0, |wanted| wanted.resends),
            overdue_ms: None,
            sent: Sent {
                agent: hosted.agent.name.clone(),
                behaviour: name.unwrap_or_default(),
                to,
                payload: outgoing.payload.clone(),
                re: about.map(|message| message.transaction).or(outgoing.re),
                thread: header.as_ref().and_then(|header| header.thread.clone()),
                header,
                label: outgoing.label.clone(),
                amount: outgoing.amount,
                sealed,
                outgoing,
                transaction: hash,
                transactions: Vec::new(),
                place: Place::Pending,
            },
        });
        let row = hosted.store.outbox.len() - 1;
        self.send(host, row);
    }

    /// Posts a message in a new transaction.
    fn send(&mut self, host: usize, row: usize) {
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let from = hosted.party.address.clone();
        let Some(draft) = hosted.store.outbox.get_mut(row) else {
            return;
        };
        let sent = &mut draft.sent;
        let hash = carrier(&draft.origin, sent.transactions.len());
        sent.transactions.push(hash);
        sent.place = Place::Pending;
        let payload = match compose(&sent.payload, sent.header.as_ref()) {
            Ok(payload) => payload,
            Err(error) => panic!("a checked effect cannot be composed: {error}"),
        };
        let written = Written {
            from,
            to: sent.to.clone(),
            payload,
            amount: sent.amount,
            authenticity: None,
            standing: None,
            sealed: sent.sealed,
        };
        let transaction = Transaction {
            hash,
            digest: agentry_protocol::MessageDigest::of(hash.as_bytes()),
            written,
        };
        self.ledger.post(transaction);
    }

    /// Records that a transaction of a hosted agent is in a block. The time for the acknowledgment
    /// begins.
    pub(super) fn sent_was_mined(&mut self, hash: TransactionHash, height: BlockHeight) {
        let now = self.now_ms;
        let Some((host, row)) = self.whose(hash) else {
            return;
        };
        let Some(draft) = self.draft(host, row) else {
            return;
        };
        draft.sent.place = Place::Mined(height);
        let first = draft.mined.is_empty();
        if !draft.mined.insert(hash) {
            return;
        }
        if let Some(wanted) = draft.sent.outgoing.acknowledge
            && draft.rank < satisfied(wanted.request)
        {
            draft.overdue_ms = Some(after_ms(now, wanted.within));
        }
        if first {
            let sent = draft.sent.clone();
            self.tell(host, row, DeliveryUpdate::Mined { height });
            self.ask_script(&sent);
        }
    }

    /// Records that the block of a transaction of a hosted agent was withdrawn.
    pub(super) fn sent_was_withdrawn(&mut self, hash: TransactionHash) {
        if let Some((host, row)) = self.whose(hash)
            && let Some(draft) = self.draft(host, row)
            && draft.sent.transactions.last() == Some(&hash)
        {
            draft.sent.place = Place::Pending;
        }
    }

    /// Records the recipient's acknowledgment of a message.
    pub(super) fn acknowledged(&mut self, host: usize, hash: TransactionHash, ack: &Ack) {
        let detail = ack.detail.as_ref().map(|detail| detail.as_str().to_owned());
        let Some((owner, row)) = self.whose(hash) else {
            return;
        };
        if owner != host {
            return;
        }
        let update = match ack.status {
            AckStatus::Received => DeliveryUpdate::Received,
            AckStatus::Accepted => DeliveryUpdate::Accepted { detail },
            AckStatus::Done => DeliveryUpdate::Done { detail },
            AckStatus::Failed => DeliveryUpdate::Failed { detail },
            AckStatus::Rejected => DeliveryUpdate::Rejected { detail },
            AckStatus::Expired => DeliveryUpdate::Expired,
        };
        self.settle_update(host, row, update);
    }

    /// Resends messages that were not acknowledged in time, or reports them as unacknowledged.
    pub(super) fn chase(&mut self, host: usize) {
        let now = self.now_ms;
        let rows = self
            .hosts
            .get(host)
            .map_or(0, |host| host.store.outbox.len());
        for row in 0..rows {
            let Some(draft) = self.draft(host, row) else {
                continue;
            };
            if draft.overdue_ms.is_none_or(|due| due > now) {
                continue;
            }
            draft.overdue_ms = None;
            let expired = draft
                .sent
                .header
                .as_ref()
                .is_some_and(|header| header.is_expired(now));
            if draft.resends_left > 0 && !expired {
                draft.resends_left -= 1;
                self.send(host, row);
            } else {
                self.settle_update(host, row, DeliveryUpdate::Unacknowledged);
            }
        }
    }

    /// Records that the node refused a transaction of a hosted agent.
    pub(super) fn refused(&mut self, hash: TransactionHash, reason: &str) {
        if let Some((host, row)) = self.whose(hash) {
            if let Some(draft) = self.draft(host, row) {
                draft.sent.place = Place::Unsent;
            }
            let reason = reason.to_owned();
            self.settle_update(host, row, DeliveryUpdate::Unsent { reason });
        }
    }

    /// Sets the place of a transaction of a hosted agent.
    pub(super) fn set_place(&mut self, hash: TransactionHash, place: Place) {
        if let Some((host, row)) = self.whose(hash)
            && let Some(draft) = self.draft(host, row)
        {
            draft.sent.place = place;
        }
    }

    /// Applies a delivery update, unless one of the same or a higher rank was applied.
    fn settle_update(&mut self, host: usize, row: usize, update: DeliveryUpdate) {
        let Some(draft) = self.draft(host, row) else {
            return;
        };
        let rank = rank(&update);
        if rank <= draft.rank {
            return;
        }
        draft.rank = rank;
        let wanted = draft.sent.outgoing.acknowledge.map(|wanted| wanted.request);
        if wanted.is_none_or(|request| rank >= satisfied(request)) {
            draft.overdue_ms = None;
        }
        self.tell(host, row, update);
    }

    fn tell(&mut self, host: usize, row: usize, update: DeliveryUpdate) {
        let now = self.now_ms;
        let Some(draft) = self.draft(host, row) else {
            return;
        };
        let Some(label) = draft.sent.label.clone() else {
            return;
        };
        let message = SentMessage {
            label,
            to: draft.sent.to.clone(),
            id: draft.sent.header.as_ref().and_then(|header| header.id),
            transaction: draft.sent.transactions.last().copied(),
        };
        let key = format!("update/{}/{update:?}", draft.origin);
        let behaviour = draft.behaviour;
        let item = Item::own(
            &key,
            behaviour,
            Event::DeliveryUpdate(message, update),
            None,
            now,
        );
        if let Some(hosted) = self.hosts.get_mut(host) {
            hosted.store.queue.push(item);
        }
    }

    /// The hosted agent and the message that a transaction carries.
    pub(super) fn whose(&self, hash: TransactionHash) -> Option<(usize, usize)> {
        self.hosts.iter().enumerate().find_map(|(host, hosted)| {
            let row = hosted
                .store
                .outbox
                .iter()
                .position(|draft| draft.sent.transactions.contains(&hash))?;
            Some((host, row))
        })
    }

    fn draft(&mut self, host: usize, row: usize) -> Option<&mut Draft> {
        self.hosts.get_mut(host)?.store.outbox.get_mut(row)
    }
}

/// The rank of a delivery update. The recipient's final answer outranks its silence.
const fn rank(update: &DeliveryUpdate) -> u8 {
    match update {
        DeliveryUpdate::Mined { .. } => 0,
        DeliveryUpdate::Received => 1,
        DeliveryUpdate::Accepted { .. } => 2,
        DeliveryUpdate::Unacknowledged => 3,
        DeliveryUpdate::Done { .. }
        | DeliveryUpdate::Failed { .. }
        | DeliveryUpdate::Rejected { .. }
        | DeliveryUpdate::Expired
        | DeliveryUpdate::Unsent { .. } => 4,
    }
}

/// The rank that satisfies a request for an acknowledgment.
const fn satisfied(request: AckRequest) -> u8 {
    match request {
        AckRequest::Received => 1,
        AckRequest::Done => 3,
    }
}

/// The header of a message: none for a text that answers a text without one.
fn header_of(about: Option<&Message>, payload: &Payload) -> Option<Header> {
    let plain = about.is_some_and(|message| message.text().is_some() && message.header.is_none());
    if plain && matches!(payload, Payload::Text(_)) {
        return None;
    }
    Some(answer_to(about))
}

fn answer_to(about: Option<&Message>) -> Header {
    Header {
        re: about.map(|message| message.transaction),
        thread: about
            .and_then(|message| message.header.as_ref())
            .and_then(|header| header.thread.clone()),
        ..Header::default()
    }
}

fn carrier(origin: &str, number: usize) -> TransactionHash {
    TransactionHash::of(format!("{origin}#{number}").as_bytes())
}

/// The time `after` from now.
pub(super) fn after_ms(now_ms: u64, after: std::time::Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
}

/// The message as an acknowledgment, if it is a well-formed one.
pub(super) fn as_ack(message: &Message) -> Option<Ack> {
    match message.command() {
        Ok(Some(KnownCommand::Ack(ack))) => Some(ack),
        Ok(_) | Err(_) => None,
    }
}
