//! Messages that agents received.

use std::sync::Arc;

use agentry_chain::ChainTransaction;
use agentry_core::commit::Arrival;
use agentry_protocol::command::AckStatus;
use agentry_protocol::{
    Authenticity, BlockHeight, KnownCommand, Payload, StoredTransaction, TransactionHash,
};
use agentry_sdk::{Answered, DeliveryUpdate, Event, Message, Settlement, Standing};

use super::ReplayError;
use super::engine::{Asked, Engine};
use super::ledger::ReportId;
use super::report::Cause;
use super::said::display_text;
use crate::config::BehaviourInstance;
use crate::runtime::reading::{self, Place};
use crate::runtime::registry::Hosted;
use crate::runtime::runner::{Runner, Shown};

impl Engine {
    /// Handles a message to an agent.
    pub(super) async fn message(
        &mut self,
        hosted: &Arc<Hosted>,
        seen: &ChainTransaction,
        authenticity: Authenticity,
    ) -> Result<(), ReplayError> {
        let stored = &seen.stored;
        let now_ms = self.stage.clock.now_ms();
        let arrival = Arrival::new(
            hosted.id,
            seen.hash,
            stored,
            seen.height,
            authenticity,
            now_ms,
        );
        let identity = format!("{} {}", stored.from, arrival.identity);
        let (identity, digest) = ((hosted.id, identity), (hosted.id, arrival.digest));
        let first = self
            .seen
            .get(&identity)
            .or_else(|| self.digests.get(&digest));
        if let Some(first) = first.copied() {
            // An answer may name any transaction of the message.
            self.ledger.record_repetition(hosted.id, first, seen.hash);
            self.summary.repeated += 1;
            return Ok(());
        }
        self.seen.insert(identity, seen.hash);
        self.digests.insert(digest, seen.hash);
        self.summary.messages += 1;
        let place = Place {
            hash: seen.hash,
            digest: arrival.digest,
            height: seen.height,
            authenticity,
        };
        let mut message = reading::plain(stored, place);
        if authenticity == Authenticity::Verified {
            // Shares of the budget do not apply, since budgets do not.
            message.standing = Standing::Known;
        }
        let is_sealed = message.cmd() == Some("SEALED");
        let opened = if is_sealed && arrival.refused.is_none() {
            self.open(hosted, stored, authenticity).await?
        } else {
            None
        };
        if let Some(Ok(payload)) = &opened {
            message.payload = payload.clone();
            message.sealed = true;
        }
        let report = self.begin(hosted, &message, is_sealed);
        if let Some(reason) = arrival.refused {
            self.ledger
                .note(report, format!("would be a dead letter: {reason}"));
            return Ok(());
        }
        if message
            .header
            .as_ref()
            .is_some_and(|header| header.is_expired(now_ms))
        {
            self.summary.expired += 1;
            self.ledger.note(report, "it had expired".to_owned());
            let message = Arc::new(message);
            let runner = Runner::on(self.stage.clone(), hosted);
            // If a behaviour fails to say whether it watches the message, none is told.
            let shown = runner.show(&message, &[]).await.unwrap_or_default();
            self.settled(hosted, &message, &shown, &Settlement::Expired, report)
                .await;
            return Ok(());
        }
        match opened {
            Some(Err(reason)) => {
                self.ledger
                    .note(report, format!("cannot be opened: {reason}"));
                return Ok(());
            }
            None if is_sealed => {
                self.summary.closed += 1;
                self.ledger.mark_incomplete(report);
                self.ledger.note(report, "sealed and not opened".to_owned());
                return Ok(());
            }
            Some(Ok(_)) | None => {}
        }
        let question = self.question(hosted, &message)?;
        let answer = match reading::answer(&message, question.is_some()) {
            Ok(answer) => answer,
            Err(reason) => {
                self.ledger
                    .note(report, format!("no behaviour acts on it: {reason}"));
                return Ok(());
            }
        };
        let (answers, named) = question.unzip();
        message.answers = answers;
        self.show(hosted, &Arc::new(message), report).await;
        if let (Some(KnownCommand::Ack(ack)), Some(named)) = (answer, named) {
            let detail = ack.detail.map(|detail| detail.as_str().to_owned());
            self.acknowledged(hosted, named, ack.status, detail, seen.height)
                .await;
        }
        Ok(())
    }

    fn begin(&mut self, hosted: &Hosted, message: &Message, sealed: bool) -> ReportId {
        let cause = Cause::Message {
            height: message.height,
            transaction: message.transaction,
            from: message.from.clone(),
            text: display_text(&message.payload),
            sealed,
            authenticity: message.authenticity.as_str(),
        };
        let plain = message.text().is_some() && message.header.is_none();
        self.ledger
            .begin(hosted.id, &hosted.config.name, cause, plain)
    }

    /// The payload of a sealed message, or why it cannot be opened; `None` if none is to be opened.
    async fn open(
        &self,
        hosted: &Hosted,
        stored: &StoredTransaction,
        authenticity: Authenticity,
    ) -> Result<Option<Result<Payload, String>>, ReplayError> {
        let Some(keyring) = self.cast.keyring.clone() else {
            return Ok(None);
        };
        let (id, stored) = (hosted.id, stored.clone());
        let open = move || keyring.open(id, &stored, authenticity);
        let opened = self.stage.workers.spawn_blocking(open).await;
        let opened = opened.map_err(|_| ReplayError::Panicked)?;
        Ok(Some(opened.map_err(ReplayError::Unlock)?))
    }

    /// The agent's message that a message answers. Only the recipient of that message can answer it.
    fn question(
        &self,
        hosted: &Hosted,
        message: &Message,
    ) -> Result<Option<(Answered, TransactionHash)>, ReplayError> {
        let Some(transaction) = reading::names(message) else {
            return Ok(None);
        };
        let mut asked = self.asked.get(&transaction).cloned();
        if asked.as_ref().is_none_or(|asked| asked.behaviour.is_none())
            && let Some(question) = self.past.question(&hosted.address, transaction)?
        {
            asked = Some(Asked {
                first: asked.map_or(transaction, |asked| asked.first),
                to: question.recipient,
                behaviour: question.behaviour,
                label: question.label,
            });
        }
        Ok(asked
            .filter(|asked| reading::is_from(message, &asked.to))
            .map(|asked| {
                let answered = Answered {
                    transaction,
                    behaviour: asked.behaviour,
                    label: asked.label,
                };
                (answered, asked.first)
            }))
    }

    /// Handles an acknowledgment from the recipient of a message.
    async fn acknowledged(
        &mut self,
        hosted: &Hosted,
        transaction: TransactionHash,
        status: AckStatus,
        detail: Option<String>,
        height: BlockHeight,
    ) {
        let Some((item, awaited)) = self.agenda.answered(hosted.id, transaction) else {
            return;
        };
        let update = match status {
            AckStatus::Received => DeliveryUpdate::Received,
            AckStatus::Accepted => DeliveryUpdate::Accepted { detail },
            AckStatus::Done => DeliveryUpdate::Done { detail },
            AckStatus::Failed => DeliveryUpdate::Failed { detail },
            AckStatus::Rejected => DeliveryUpdate::Rejected { detail },
            AckStatus::Expired => DeliveryUpdate::Expired,
        };
        let (behaviour, sent) = (item.behaviour.clone(), awaited.sent.clone());
        if !update.is_last(true, awaited.done) {
            // The next acknowledgment has the same time limit.
            self.agenda.put(item);
        }
        self.update(hosted.id, &behaviour, sent, update, height)
            .await;
    }

    /// Passes a message to every behaviour that accepts or watches it.
    async fn show(&mut self, hosted: &Arc<Hosted>, message: &Arc<Message>, report: ReportId) {
        let runner = Runner::on(self.stage.clone(), hosted);
        let shown = match runner.show(message, &[]).await {
            Ok(shown) => shown,
            Err((instance, error)) => {
                return self.failed(report, instance, &error.to_string());
            }
        };
        let mut settlement = None;
        // A watcher that accepts the message does not act on it.
        let acts = |instance: &&BehaviourInstance| !shown.watchers.contains(&instance.name);
        if !shown.accepting.iter().any(acts) {
            settlement = Some(Settlement::Rejected {
                reason: "no behaviour takes it".to_owned(),
            });
            if shown.accepting.is_empty() {
                self.ledger.note(report, "no behaviour takes it".to_owned());
            }
        }
        let mut has_tasks = false;
        for instance in shown.accepting.clone() {
            let event = Event::Message(Arc::clone(message));
            match self.act(hosted, instance, event, Some(message)).await {
                Ok(act) => {
                    let (rejected, tasks) = self.record(report, act);
                    has_tasks |= tasks;
                    if let Some(reason) = rejected {
                        settlement = Some(Settlement::Rejected { reason });
                    }
                }
                Err(error) => {
                    self.failed(report, instance, &error.to_string());
                    let failed = Settlement::Failed {
                        reason: error.public().to_owned(),
                    };
                    return self.settled(hosted, message, &shown, &failed, report).await;
                }
            }
        }
        // With tasks, the outcome of the message is unknown.
        match settlement {
            Some(settlement) => {
                self.settled(hosted, message, &shown, &settlement, report)
                    .await;
            }
            None if has_tasks => {}
            None => {
                self.settled(hosted, message, &shown, &Settlement::Done, report)
                    .await;
            }
        }
    }

    /// Tells the watchers of a message its outcome.
    async fn settled(
        &mut self,
        hosted: &Arc<Hosted>,
        message: &Arc<Message>,
        shown: &Shown<'_>,
        settlement: &Settlement,
        report: ReportId,
    ) {
        for watcher in &shown.watchers {
            let instances = &hosted.config.behaviours;
            let Some(instance) = instances.iter().find(|one| one.name == *watcher) else {
                continue;
            };
            let event = Event::Settled(Arc::clone(message), settlement.clone());
            match self.act(hosted, instance, event, Some(message)).await {
                Ok(act) => {
                    self.record(report, act);
                }
                Err(error) => self.failed(report, instance, &error.to_string()),
            }
        }
    }
}
