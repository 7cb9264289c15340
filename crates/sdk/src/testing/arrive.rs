//! Processing of blocks for hosted agents, peers and the directory.

use std::sync::Arc;

use agentry_core::commit::{Arrival, Observation, Step};
use agentry_core::state::row::{self, inbox};
use agentry_core::{AgentId, Commit};
use agentry_protocol::{Authenticity, BlockHeight, KnownCommand, TransactionHash};
use serde_json::json;

use super::Simulation;
use super::ledger::Transaction;
use super::sent::{Dropped, Sent};
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
            self.ledger.post(transaction);
        }
        self.repeat_at_random();
        self.withdraw_at_random();
        height
    }

    /// Removes the last blocks from the chain, as a reorganisation does. Their transactions wait to
    /// be mined again, before those that were posted since.
    ///
    /// A message that was not handled waits until it is mined again; a message that was handled
    /// stays handled. Messages that hosted agents sent are pending again.
    pub fn withdraw(&mut self, blocks: usize) {
        let withdrawn = self.take_back(blocks);
        let transactions = withdrawn.into_iter().flatten();
        self.ledger.pool.splice(0..0, transactions);
    }

    /// Removes the last blocks from the chain and replaces them with the same blocks.
    pub(super) fn rewrite(&mut self, blocks: usize) {
        for block in self.take_back(blocks) {
            self.ledger.append(block.clone());
            let height = self.ledger.height();
            self.observe(&block, height);
        }
    }

    fn take_back(&mut self, blocks: usize) -> Vec<Vec<Transaction>> {
        let withdrawn = self.ledger.withdraw(blocks);
        let above = Some(self.ledger.height());
        self.see(vec![Step::Withdrawn { above }]);
        withdrawn
    }

    fn observe(&mut self, block: &[Transaction], height: BlockHeight) {
        let mut steps = Vec::new();
        for transaction in block {
            let message = self.read(transaction, height);
            self.learn(&message);
            if let Some(host) = self.host_at(&message.from) {
                steps.push(Step::Sighting {
                    agent: host.id,
                    hash: transaction.hash,
                    own: None,
                    height,
                    block_hash: None,
                });
            }
            if let Some(host) = self.host_at(&message.to) {
                let arrival = self.arrival(host.id, transaction, &message);
                steps.extend(arrival.map(Step::Arrival));
            }
        }
        self.see(steps);
    }

    fn see(&mut self, steps: Vec<Step>) {
        let changes = self.must(&Commit::Observe(Observation {
            steps,
            cursor: json!(self.ledger.height()),
            final_through: None,
            catching_up: None,
            at: self.now,
        }));
        for (id, _) in changes.mined {
            let first = self.store.outbox().get(&id).map(|row| row.first());
            if let Some(first) = first.filter(|first| self.shown.insert(*first))
                && let Some(sent) = self.sent_as(first)
            {
                self.ask_script(&sent);
            }
        }
    }

    fn read(&self, transaction: &Transaction, height: BlockHeight) -> Message {
        let written = &transaction.written;
        let known = if self.strangers.contains(&written.stored.from) {
            Authenticity::Unverified
        } else {
            Authenticity::Verified
        };
        written.read(transaction.hash, transaction.digest, height, known)
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

    /// A message to a hosted agent, unless it is dropped.
    fn arrival(
        &mut self,
        agent: AgentId,
        transaction: &Transaction,
        message: &Message,
    ) -> Option<Arrival> {
        let mut arrival = Arrival::new(
            agent,
            transaction.hash,
            &transaction.written.stored,
            message.height,
            message.authenticity,
            self.now,
        );
        arrival.standing = message.standing;
        let dropped = if message.authenticity == Authenticity::Forged {
            Some("it is forged")
        } else if message.from == message.to {
            Some("the agent itself sent it")
        } else {
            arrival.refused.as_deref()
        };
        let Some(reason) = dropped else {
            return Some(arrival);
        };
        self.drop_message(transaction.hash, reason.to_owned());
        None
    }

    pub(super) fn drop_message(&mut self, transaction: TransactionHash, reason: String) {
        self.dropped.push(Dropped {
            transaction,
            reason,
        });
    }

    /// The message that a transaction carried to an agent.
    pub(super) fn received(
        &self,
        agent: AgentId,
        transaction: &Transaction,
    ) -> Option<Arc<row::Message>> {
        let message = self.read(transaction, BlockHeight(0));
        let envelope = transaction.written.stored.envelope();
        let identity = envelope.identity(transaction.digest, message.authenticity);
        let identity = inbox::Index::Identity(agent, message.from, identity.to_string());
        self.store.inbox().find(&identity)
    }

    /// A stored message as a behaviour sees it.
    pub(super) fn message(&self, row: &row::Message) -> Option<Message> {
        let height = row.height.unwrap_or(BlockHeight(0));
        let mut message = self.read(self.find(row.hash)?, height);
        message.answers = self.answered(row.agent, &message);
        Some(message)
    }

    /// The message of the agent that this message answers.
    fn answered(&self, agent: AgentId, message: &Message) -> Option<Answered> {
        if message.authenticity != Authenticity::Verified {
            return None;
        }
        let hash: TransactionHash = message.header.as_ref()?.re?;
        let asked = &self.find(hash)?.written.stored;
        if asked.from != message.to || asked.to != message.from {
            return None;
        }
        let sent = self.own(hash).filter(|row| row.agent == agent);
        let sent = sent.and_then(|row| self.sent.get(&row.first()));
        Some(Answered {
            transaction: hash,
            behaviour: sent.map(|sent| sent.behaviour.clone()),
            label: sent.and_then(|sent| sent.label.clone()),
        })
    }

    /// Shows a peer a message that was sent to it, once, and posts the peer's answers.
    fn ask_script(&mut self, sent: &Sent) {
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
