//! Transactions: cards, and what agents sent.

use agentry_chain::ChainTransaction;
use agentry_protocol::message::Envelope;
use agentry_protocol::{Authenticity, Header, KnownCommand, Payload, StoredTransaction};
use agentry_sdk::{Acknowledge, Card, DeliveryUpdate, SentMessage};

use super::ReplayError;
use super::agenda::{Awaited, Item, What};
use super::engine::{Asked, Engine};
use super::ledger::{Placed, Send};
use super::report::Did;
use super::said::Said;
use crate::runtime::classify::examine_under;
use crate::runtime::clock::millis;
use crate::runtime::directory;
use crate::runtime::registry::Hosted;

/// How many cards are kept, as in the store.
const MAX_CARDS: usize = 100_000;

impl Engine {
    /// Handles a transaction of the replayed blocks, or of the blocks after them, which are only
    /// searched for answers.
    pub(super) async fn transaction(
        &mut self,
        seen: &ChainTransaction,
        is_after: bool,
    ) -> Result<(), ReplayError> {
        let stored = &seen.stored;
        if !is_after {
            self.card(seen);
        }
        let replayed = &self.cast.replayed;
        let sender = replayed.get(&stored.from).cloned();
        let recipient = replayed
            .get(&stored.to)
            .filter(|recipient| !is_after && !recipient.is_self(&stored.from))
            .cloned();
        if sender.is_none() && recipient.is_none() {
            return Ok(());
        }
        let finding = examine_under(stored, &self.chain_id, self.key_of(&stored.from));
        let authenticity = finding.authenticity();
        if authenticity == Authenticity::Forged {
            self.summary.forged += u64::from(recipient.is_some());
            return Ok(());
        }
        if let Some(sender) = sender {
            self.own(&sender, seen, is_after).await?;
        }
        if let Some(recipient) = recipient {
            self.message(&recipient, seen, authenticity).await?;
        }
        Ok(())
    }

    fn card(&self, seen: &ChainTransaction) {
        let stored = &seen.stored;
        let now_ms = self.stage.clock.now_ms();
        let card = directory::card_of(stored, seen.hash, seen.height, &self.chain_id, now_ms);
        let Some(announced) = card else { return };
        match command(stored) {
            Some(KnownCommand::Announce(_))
                if self.directory.len() >= MAX_CARDS
                    && self.directory.card(&announced.address).is_none() => {}
            Some(KnownCommand::Announce(card)) => self.directory.put(Card {
                address: announced.address,
                public_key: announced.public_key,
                card,
                transaction: announced.hash,
                height: announced.height,
            }),
            _ => self.directory.take_out(&announced.address),
        }
    }

    /// Handles a transaction that an agent sent.
    async fn own(
        &mut self,
        sender: &Hosted,
        seen: &ChainTransaction,
        is_after: bool,
    ) -> Result<(), ReplayError> {
        let stored = &seen.stored;
        let envelope = Envelope::read(&stored.payload);
        if self.asked.get(&seen.hash).is_some() {
            return Ok(());
        }
        let id = envelope.header().and_then(|header| header.id);
        let sent = id.map(|id| (sender.id, id.to_string()));
        let first = sent.as_ref().and_then(|sent| self.sent.get(sent)).copied();
        if let Some(asked) = first.and_then(|first| self.asked.get(&first)).cloned() {
            self.asked.insert(seen.hash, asked);
            return Ok(());
        }
        if let Some(sent) = sent {
            self.sent.insert(sent, seen.hash);
        }
        let (said, names) = Said::read(stored);
        let mut asked = Asked {
            first: seen.hash,
            to: stored.to.clone(),
            behaviour: None,
            label: None,
        };
        // The runtime sends an agent's card, not a behaviour.
        let is_card = matches!(
            command(stored),
            Some(KnownCommand::Announce(_) | KnownCommand::Withdraw)
        );
        if is_card && stored.from == stored.to {
            self.asked.insert(seen.hash, asked);
            return Ok(());
        }
        let by_operator = self.past.is_operators(&sender.address, seen.hash)?;
        let did = Did {
            height: seen.height,
            transaction: seen.hash,
            said,
        };
        let mut update = None;
        match self.ledger.did(sender.id, did.clone(), names, by_operator) {
            Placed::For(send) => {
                asked.behaviour = Some(send.would.behaviour.clone());
                asked.label.clone_from(&send.label);
                update = self.mined(sender, *send, seen, envelope.header());
            }
            Placed::Alone => {}
            _ if is_after => return Ok(()),
            Placed::Outside => self.summary.outside += 1,
            Placed::Unasked => self.ledger.unasked(sender.id, &sender.config.name, did),
        }
        self.asked.insert(seen.hash, asked);
        if let Some((behaviour, sent)) = update.filter(|_| !is_after) {
            let mined = DeliveryUpdate::Mined {
                height: seen.height,
            };
            self.update(sender.id, &behaviour, sent, mined, seen.height)
                .await;
        }
        Ok(())
    }

    /// Handles a message that would be sent and was mined. Returns the behaviour that gets the
    /// delivery update, and the message as it was sent.
    fn mined(
        &mut self,
        sender: &Hosted,
        send: Send,
        seen: &ChainTransaction,
        header: Option<&Header>,
    ) -> Option<(String, SentMessage)> {
        let sent = SentMessage {
            label: send.label?,
            to: seen.stored.to.clone(),
            id: header.and_then(|header| header.id),
            transaction: Some(seen.hash),
        };
        let behaviour = send.would.behaviour;
        if let Some(Acknowledge {
            request,
            within,
            resends,
        }) = send.acknowledge
        {
            let within_ms = millis(within);
            self.agenda.put(Item {
                agent: sender.id,
                behaviour: behaviour.clone(),
                due_ms: self.stage.clock.now_ms().saturating_add(within_ms),
                what: What::Overdue(Box::new(Awaited {
                    sent: sent.clone(),
                    transaction: seen.hash,
                    within_ms,
                    resends_left: resends,
                    done: request == agentry_protocol::AckRequest::Done,
                })),
            });
        }
        Some((behaviour, sent))
    }
}

/// The command of a transaction, if it is a known one.
fn command(stored: &StoredTransaction) -> Option<KnownCommand> {
    match Envelope::read(&stored.payload).payload {
        Payload::Command(command) => KnownCommand::read(&command).ok()?,
        Payload::Text(_) | Payload::Opaque(_) => None,
    }
}
