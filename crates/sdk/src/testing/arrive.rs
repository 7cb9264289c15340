//! Processing of blocks for hosted agents, peers and the directory.

use std::sync::Arc;

use agentry_protocol::{
    Authenticity, BlockHeight, Identity, KnownCommand, Number, TransactionHash,
};

use super::Simulation;
use super::ledger::Transaction;
use super::outbox::as_ack;
use super::queue::{Item, Received, Waiting, short};
use super::sent::{Dropped, Place, Sent};
use crate::{Answered, Card, Message};

impl Simulation {
    /// Mines the next block from the transactions that were posted, and shows it to agents, peers
    /// and the directory. Handlers do not run yet. Transactions that the node lost are posted
    /// again, for the block after this one.
    pub fn mine(&mut self) -> BlockHeight {
        self.withdraw_at_random();
        self.lose_at_random();
        let block = self.ledger.mine();
        let height = self.ledger.height();
        self.observe(&block, height);
        for transaction in std::mem::take(&mut self.lost) {
            self.set_place(transaction.hash, Place::Pending);
            self.ledger.post(transaction);
        }
        self.repeat_at_random();
        self.withdraw_at_random();
        height
    }

    /// Removes the last blocks from the chain, as a reorganisation does. Their transactions wait to
    /// be mined again, before those that were posted since.
    ///
    /// A message that no behaviour has seen waits until it is mined again; a message that was
    /// handled stays handled. Messages that hosted agents sent are pending again.
    pub fn withdraw(&mut self, blocks: usize) {
        let withdrawn = self.ledger.withdraw(blocks);
        let transactions: Vec<Transaction> = withdrawn.into_iter().flatten().collect();
        for transaction in &transactions {
            self.sent_was_withdrawn(transaction.hash);
        }
        self.ledger.pool.splice(0..0, transactions);
    }

    /// Removes the last blocks from the chain and replaces them with the same blocks.
    pub(super) fn rewrite(&mut self, blocks: usize) {
        for block in self.ledger.withdraw(blocks) {
            for transaction in &block {
                self.sent_was_withdrawn(transaction.hash);
            }
            self.ledger.append(block.clone());
            let height = self.ledger.height();
            self.observe(&block, height);
        }
    }

    fn observe(&mut self, block: &[Transaction], height: BlockHeight) {
        for transaction in block {
            self.sent_was_mined(transaction.hash, height);
            let to = &transaction.written.to;
            let host = self.hosts.iter().position(|host| host.party.address == *to);
            let message = self.read(transaction, height);
            self.learn(&message);
            if let Some(host) = host {
                self.arrive(host, message);
            }
        }
    }

    fn read(&self, transaction: &Transaction, height: BlockHeight) -> Message {
        let written = &transaction.written;
        let known = if self.strangers.contains(&written.from) {
            Authenticity::Unverified
        } else {
            Authenticity::Verified
        };
        let mut message = Message::read(
            transaction.hash,
            transaction.digest,
            (written.from.clone(), written.to.clone()),
            &written.payload,
            height,
            written.authenticity.unwrap_or(known),
        );
        message.standing = written.standing.unwrap_or(message.standing);
        message.sealed = written.sealed;
        message.amount = Number::from(written.amount);
        message
    }

    /// Updates the directory: an agent sends its card to its own address.
    fn learn(&mut self, message: &Message) {
        if message.authenticity != Authenticity::Verified || message.from != message.to {
            return;
        }
        match message.command() {
            Ok(Some(KnownCommand::Announce(card))) => {
                let key = message.header.as_ref().and_then(|header| header.key);
                if let Some(public_key) = key {
                    self.environment.announce(Card {
                        address: message.from.clone(),
                        public_key,
                        card,
                        transaction: message.transaction,
                        height: message.height,
                    });
                }
            }
            Ok(Some(KnownCommand::Withdraw)) => self.environment.withdraw(message.from.clone()),
            Ok(_) | Err(_) => {}
        }
    }

    fn arrive(&mut self, host: usize, mut message: Message) {
        let now = self.now_ms;
        let drop = |reason: &str| Dropped {
            transaction: message.transaction,
            reason: reason.to_owned(),
        };
        if message.authenticity == Authenticity::Forged {
            self.dropped.push(drop("it is forged"));
            return;
        }
        if message.from == message.to {
            self.dropped.push(drop("the agent itself sent it"));
            return;
        }
        let id = message.header.as_ref().and_then(|header| header.id);
        let verified = message.authenticity == Authenticity::Verified;
        let identity = match id {
            Some(id) if verified => {
                if let Err(error) = id.check(now) {
                    self.dropped.push(drop(&error.to_string()));
                    return;
                }
                Identity::Id(id)
            }
            _ => Identity::Digest(message.digest),
        };
        message.answers = self.answered(host, &message);
        let command = message.command().unwrap_or_default();
        let is_answer = command.as_ref().is_some_and(KnownCommand::is_answer);
        if message.answers.is_none() && is_answer {
            self.dropped
                .push(drop("it does not answer a message to its sender"));
            return;
        }
        let Some(hosted) = self.hosts.get_mut(host) else {
            return;
        };
        let store = &mut hosted.store;
        if !store.seen.insert((message.from.clone(), identity)) {
            let same = store
                .inbox
                .iter_mut()
                .find(|row| row.identity == identity && row.message.from == message.from);
            if let Some(row) = same
                && !row.carriers.contains(&message.transaction)
            {
                row.carriers.push(message.transaction);
            }
            return;
        }
        let answers = message
            .answers
            .as_ref()
            .map(|answered| answered.transaction);
        let ack = as_ack(&message);
        store.queue.push(Item {
            key: short(&format!("message/{}/{identity}", message.from)),
            what: Waiting::Message(store.inbox.len()),
            attempt: 1,
            not_before: now,
        });
        store.inbox.push(Received {
            carriers: vec![message.transaction],
            message: Arc::new(message),
            identity,
            next: 0,
            acted: false,
            rejected: None,
            tasks: Vec::new(),
            handled: false,
            settlement: None,
        });
        if let (Some(hash), Some(ack)) = (answers, ack) {
            self.acknowledged(host, hash, &ack);
        }
    }

    /// The message of the agent that this message answers.
    fn answered(&self, host: usize, message: &Message) -> Option<Answered> {
        if message.authenticity != Authenticity::Verified {
            return None;
        }
        let hash: TransactionHash = message.header.as_ref()?.re?;
        let hosted = self.hosts.get(host)?;
        let asked = self.ledger.find(hash)?;
        if asked.written.from != hosted.party.address || asked.written.to != message.from {
            return None;
        }
        let draft = self
            .whose(hash)
            .and_then(|(_, row)| hosted.store.outbox.get(row));
        Some(Answered {
            transaction: hash,
            behaviour: draft.map(|draft| draft.sent.behaviour.clone()),
            label: draft.and_then(|draft| draft.sent.label.clone()),
        })
    }

    /// Shows a peer a message that was sent to it, once, and posts the peer's answers.
    pub(super) fn ask_script(&mut self, sent: &Sent) {
        let Some(mut script) = self.scripts.remove(&sent.to) else {
            return;
        };
        let agent = self
            .hosts
            .iter()
            .find(|host| host.agent.name == sent.agent)
            .map(|host| host.party.address.clone());
        for (index, mut answer) in script(sent).into_iter().enumerate() {
            answer = answer.or_from(&sent.to);
            if let (None, Some(agent)) = (&answer.to, &agent) {
                answer = answer.to(agent.clone());
            }
            self.post_as(answer, &format!("answer/{}/{index}", sent.transaction));
        }
        self.scripts.insert(sent.to.clone(), script);
    }
}
