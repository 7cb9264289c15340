//! The messages that hosted agents send.

use std::sync::Arc;

use agentry_core::commit::PostResult;
use agentry_core::rows::{Draft, OutboxState, Prepared};
use agentry_core::state::row::{Outgoing as Row, outbox};
use agentry_core::{Cause, Commit, OutboxId, origin};
use agentry_protocol::message::compose;
use agentry_protocol::{Address, Amount, Json, Nonce, Trail, TransactionHash};

use super::Simulation;
use super::builder::{Written, made_id};
use super::ledger::Transaction;
use super::sent::{Sent, TransactionPlace};
use crate::{BehaviourError, Message, Outgoing, Sealing};

/// A message that is ready to be sent.
pub(super) struct Composed {
    pub(super) draft: Draft,
    pub(super) prepared: Prepared,
    pub(super) transaction: Transaction,
    /// As a test sees it.
    pub(super) sent: Sent,
}

/// The agent and the behaviour that send a message, and why.
pub(super) struct Author<'a> {
    pub(super) host: usize,
    pub(super) behaviour: &'a str,
    /// The effect that sends it: unique, and the same in every run of the same history.
    pub(super) origin: String,
    pub(super) cause: Cause,
    /// What the message follows from.
    pub(super) trail: Trail,
}

impl Simulation {
    /// Composes and signs a message. `question` is the message that it answers, if it is an answer.
    ///
    /// # Errors
    /// It cannot be sealed now (transient), or never be sent (permanent).
    pub(super) fn compose(
        &mut self,
        author: Author<'_>,
        to: Address,
        outgoing: Outgoing,
        question: Option<&Message>,
    ) -> Result<Composed, BehaviourError> {
        let now = self.now;
        let Some(hosted) = self.hosts.get(author.host) else {
            return Err(BehaviourError::permanent("its agent is not hosted"));
        };
        let sealed = self.seals(
            &to,
            &outgoing,
            question.is_some_and(|message| message.sealed),
        )?;
        let mut header = outgoing.header(question, author.trail, sealed, false, now);
        if let Some(header) = &mut header {
            header.id = Some(made_id(now, &author.origin));
            header.key = Some(hosted.party.public_key);
        }
        let payload = compose(&outgoing.payload, header.as_ref())
            .map_err(|error| BehaviourError::permanent(error.to_string()))?;
        let draft = Draft {
            amount: outgoing.amount,
            message_id: header.as_ref().and_then(|header| header.id),
            expires_at: outgoing.expires_at(now),
            cause: author.cause,
            receipt: outgoing.receipt(Some(author.behaviour), question.is_some()),
            ..Draft::new(author.origin, to.clone(), Amount::ZERO, payload)
        };
        let from = hosted.party.address.clone();
        let agent = hosted.agent.name.clone();
        let (prepared, transaction) = self.sign(from, &draft, sealed, 0);
        let sent = Sent {
            agent,
            behaviour: author.behaviour.to_owned(),
            to,
            payload: outgoing.payload.clone(),
            re: question.map(|message| message.transaction).or(outgoing.re),
            thread: header.as_ref().and_then(|header| header.thread.clone()),
            header,
            label: outgoing.label.clone(),
            amount: outgoing.amount,
            sealed,
            outgoing,
            transaction: transaction.hash,
            transactions: vec![transaction.hash],
            place: TransactionPlace::Pending,
        };
        Ok(Composed {
            draft,
            prepared,
            transaction,
            sent,
        })
    }

    /// Signs a message, for the first time or again.
    fn sign(
        &self,
        from: Address,
        draft: &Draft,
        sealed: bool,
        number: usize,
    ) -> (Prepared, Transaction) {
        let nonce = format!("{}#{number}", draft.origin);
        let (to, payload): (Address, Json) = (draft.recipient.clone(), draft.payload.clone());
        let written = Written {
            sealed,
            ..Written::new(from, to, payload, draft.amount, &nonce)
        };
        let transaction = Transaction::new(written);
        let prepared = Prepared {
            nonce: Nonce::at(self.now),
            hash: transaction.hash,
            digest: transaction.digest,
            // The ledger has the transaction.
            body: String::new(),
            since: self.ledger.height(),
            day: self.now.day(),
        };
        (prepared, transaction)
    }

    /// Whether a message is sent sealed.
    fn seals(
        &self,
        to: &Address,
        outgoing: &Outgoing,
        question_sealed: bool,
    ) -> Result<bool, BehaviourError> {
        let can = self.environment.can_seal(to, self.now);
        let must = match outgoing.sealing {
            Sealing::Never => return Ok(false),
            Sealing::IfPossible => return Ok(can),
            Sealing::AsAsked => question_sealed,
            Sealing::Always => true,
        };
        if must && !can {
            // Transient: the recipient's card may still arrive.
            let reason = format!("cannot seal a message to {to}: no encryption key is known");
            return Err(BehaviourError::transient(reason));
        }
        Ok(must)
    }

    /// Posts a transaction that is stored.
    pub(super) fn post_own(&mut self, id: OutboxId, transaction: Transaction) {
        self.ledger.post(transaction);
        let (result, at) = (PostResult::Accepted, self.now);
        self.must(&Commit::Post { id, result, at });
    }

    /// A message was not acknowledged in time: it is sent again, or reported as unacknowledged.
    pub(super) fn chase(&mut self, first: OutboxId) {
        let at = self.now;
        let (Some(row), Some(receipt)) = (
            self.store.outbox().get(&first),
            self.store.receipts().get(&first),
        ) else {
            return;
        };
        let host = self.hosts.iter().find(|host| host.id == row.agent);
        let from = host.map(|host| host.party.address.clone());
        let is_expired = row.expires_at.is_some_and(|expires| expires < at);
        let (Some(from), Some(sent), false) = (
            from,
            self.sent.get(&first),
            receipt.resends_left == 0 || is_expired,
        ) else {
            self.must(&Commit::Unacknowledged { outbox: first, at });
            return;
        };
        let (sealed, number) = (sent.sealed, sent.transactions.len());
        let mut draft = Draft {
            amount: row.amount,
            message_id: row.message_id,
            expires_at: row.expires_at,
            cause: row.cause.clone(),
            ..Draft::new(
                row.origin.clone(),
                row.recipient.clone(),
                row.fee,
                row.payload.clone(),
            )
        };
        let (prepared, transaction) = self.sign(from, &draft, sealed, number);
        draft.origin = origin::of_resend(&row.origin, receipt.resends_left);
        let changes = self.must(&Commit::Resend {
            outbox: first,
            resends_left: receipt.resends_left,
            draft,
            prepared: Some(prepared),
            at,
        });
        if let Some(sent) = self.sent.get_mut(&first) {
            sent.transactions.push(transaction.hash);
        }
        if let Some(sent) = changes.sends.first() {
            self.post_own(sent.id(), transaction);
        }
    }

    /// A message that a hosted agent sent, by its first transaction.
    pub(super) fn sent_as(&self, first: OutboxId) -> Option<Sent> {
        let mut sent = self.sent.get(&first)?.clone();
        let last = sent.transactions.last().copied()?;
        let row = self.own(last)?;
        sent.place = match (row.state, row.block) {
            (OutboxState::Mined | OutboxState::Final, Some((height, _))) => {
                TransactionPlace::Mined(height)
            }
            (OutboxState::Failed, _) => TransactionPlace::Unsent,
            _ if self.lost.iter().any(|lost| lost.hash == last) => TransactionPlace::Lost,
            _ => TransactionPlace::Pending,
        };
        Some(sent)
    }

    /// The row of a transaction of a hosted agent.
    pub(super) fn own(&self, hash: TransactionHash) -> Option<Arc<Row>> {
        let with = |id| outbox::Index::Hash(hash, OutboxId(id));
        let mut rows = self.store.outbox().range(with(i64::MIN)..=with(i64::MAX));
        rows.next()
    }
}
