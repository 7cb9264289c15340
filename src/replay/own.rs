//! Transactions: cards, and what agents sent.

use agentry_chain::ChainTransaction;
use agentry_core::commit::Step;
use agentry_core::rows::{AgentId, Draft, OutboxId, Prepared};
use agentry_core::state::row::outbox::Index;
use agentry_core::state::sent::Question;
use agentry_core::{Commit, State};
use agentry_protocol::{
    Amount, Authenticity, Json, KnownCommand, MessageId, Nonce, Payload, StoredTransaction,
    TransactionHash,
};
use agentry_sdk::Card;

use super::ReplayError;
use super::engine::Engine;
use super::ledger::Placed;
use super::report::Did;
use super::said::ComparedMessage;
use crate::runtime::classify::examine_under;
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
        let finding = examine_under(stored, &self.chain.id, self.key_of(&stored.from));
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
        let now = self.now();
        let card = directory::card_of(stored, seen.hash, seen.height, &self.chain.id, now);
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
        let (agent, stored) = (sender.id, &seen.stored);
        let digest = stored.digest();
        let id = stored.envelope().header().and_then(|header| header.id);
        let request = id.map(|id| origin(agent, id));
        let first = request.clone().map(Index::Origin);
        let (is_known, is_again) = self.state.query(|state| {
            let has = |entry: Index| state.outbox().find(&entry).is_some();
            (has(Index::Digest(digest)), first.is_some_and(has))
        })?;
        if is_known {
            return Ok(());
        }
        let by_hash = || format!("{agent}/{}", seen.hash);
        let origin = request.filter(|_| !is_again).unwrap_or_else(by_hash);
        let mut draft = Draft {
            message_id: id,
            ..Draft::new(origin, stored.to.clone(), Amount::ZERO, Json::string(""))
        };
        // The runtime sends an agent's card, not a behaviour.
        let is_card = matches!(
            command(stored),
            Some(KnownCommand::Announce(_) | KnownCommand::Withdraw)
        );
        if is_again || (is_card && stored.from == stored.to) {
            return self.sent(sender, seen, draft);
        }
        let (said, names) = ComparedMessage::read(stored);
        let by_operator = self.past.is_operators(&sender.address, seen.hash)?;
        let did = Did {
            height: seen.height,
            transaction: seen.hash,
            said,
        };
        match self.ledger.did(agent, did.clone(), names, by_operator) {
            // No behaviour is told what happened after the replayed blocks.
            Placed::For(receipt) => draft.receipt = receipt.filter(|_| !is_after),
            Placed::Alone => {}
            _ if is_after => return Ok(()),
            Placed::Outside => self.summary.outside += 1,
            Placed::Unasked => self.ledger.unasked(agent, &sender.config.name, did),
        }
        self.sent(sender, seen, draft)?;
        self.work(self.now()).await
    }

    /// Adds what an agent sent to the state, where its recipient's answers find it.
    fn sent(
        &mut self,
        sender: &Hosted,
        seen: &ChainTransaction,
        mut draft: Draft,
    ) -> Result<(), ReplayError> {
        let (agent, hash, height, at) = (sender.id, seen.hash, seen.height, self.now());
        if let Some(receipt) = &mut draft.receipt {
            // As if it was sent again each time, at once.
            let times = u64::from(std::mem::take(&mut receipt.resends)).saturating_add(1);
            receipt.within_ms = receipt.within_ms.saturating_mul(times);
        }
        let prepared = Prepared {
            nonce: Nonce::of(&seen.stored.nonce).unwrap_or_default(),
            hash,
            digest: seen.stored.digest(),
            body: String::new(),
            since: height,
            day: at.day(),
        };
        self.state.apply(&Commit::Send {
            token: None,
            agent,
            draft,
            prepared: Some(prepared),
            at,
        })?;
        self.observe(Step::Sighting {
            agent,
            hash,
            own: None,
            height,
            block_hash: Some(seen.block_hash),
        })?;
        Ok(())
    }
}

/// The request of a message with an id: another transaction with that id carries it again.
fn origin(agent: AgentId, id: MessageId) -> String {
    format!("{agent}/{id}")
}

/// The agent's message that a transaction carried.
pub(super) fn question(
    state: &State,
    agent: AgentId,
    transaction: TransactionHash,
) -> Option<Question> {
    let at = |id| Index::Hash(transaction, OutboxId(id));
    let mut carriers = state.outbox().range(at(i64::MIN)..=at(i64::MAX));
    let sent = carriers.find(|sent| sent.agent == agent)?;
    let first = sent.message_id.map(|id| Index::Origin(origin(agent, id)));
    let first = first.and_then(|first| state.outbox().find(&first));
    let sent = first.unwrap_or(sent);
    let receipt = state.receipts().get(&sent.id);
    Some(Question::of(&sent, receipt.as_deref()))
}

/// The command of a transaction, if it is a known one.
fn command(stored: &StoredTransaction) -> Option<KnownCommand> {
    match stored.envelope().payload {
        Payload::Command(command) => KnownCommand::read(&command).ok()?,
        Payload::Text(_) | Payload::Opaque(_) => None,
    }
}
