//! What agents receive: messages, and the events that follow.

use std::sync::Arc;

use agentry_chain::ChainTransaction;
use agentry_core::commit::{Arrival, Handled, Outcome, Step};
use agentry_core::rows::{EventKind, EventRef, InboxState};
use agentry_core::state::due::DueEvent;
use agentry_core::state::row;
use agentry_core::state::sent::Question;
use agentry_core::{Commit, OutboxId};
use agentry_protocol::{Authenticity, KnownCommand};
use agentry_sdk::{Answered, Event, Message, Standing, durable};
use agentry_store::read;
use serde_json::Value;

use super::ReplayError;
use super::act::{ReportPlace, Subject};
use super::engine::{Engine, Waiting};
use super::ledger::ReportId;
use super::own;
use super::report::Cause;
use super::said::display_text;
use crate::runtime::reading;
use crate::runtime::registry::Hosted;
use crate::runtime::runner::{Runner, Shown};

/// A message that was read.
struct Heard {
    message: Message,
    /// Whether it arrived sealed.
    sealed: bool,
    /// Why its seal cannot be opened.
    unopened: Option<String>,
    /// The message of this replay that it answers.
    asked: Option<OutboxId>,
}

impl Engine {
    /// Handles a message to an agent.
    pub(super) async fn message(
        &mut self,
        hosted: &Arc<Hosted>,
        seen: &ChainTransaction,
        authenticity: Authenticity,
    ) -> Result<(), ReplayError> {
        let (agent, hash, now) = (hosted.id, seen.hash, self.now());
        let mut arrival = Arrival::new(agent, hash, &seen.stored, seen.height, authenticity, now);
        if authenticity == Authenticity::Verified {
            // Shares do not apply.
            arrival.standing = Standing::Known;
        }
        let changes = self.observe(Step::Arrival(arrival.clone()))?;
        let Some(row) = self.state.query(|state| state.arrived(&arrival))? else {
            return Ok(());
        };
        if changes.repeated > 0 {
            // An answer may name any transaction of the message.
            self.ledger.record_repetition(agent, row.hash, hash);
            self.summary.repeated += 1;
            return Ok(());
        }
        self.summary.messages += 1;
        if row.state == InboxState::Dead {
            let place = reading::ChainPlace {
                hash,
                digest: arrival.digest,
                height: seen.height,
                authenticity,
            };
            let message = reading::plain(&seen.stored, place);
            let report = self.begin(hosted, &message, message.cmd() == Some("SEALED"));
            let reason = row.reason.as_deref().unwrap_or_default();
            self.ledger
                .note(report, format!("would be a dead letter: {reason}"));
        }
        self.work(now).await
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

    /// Shows a message to every behaviour that has to see it.
    pub(super) async fn handle_message(
        &mut self,
        hosted: &Arc<Hosted>,
        row: &row::Message,
    ) -> Result<(), ReplayError> {
        let heard = self.read(hosted, row).await?;
        let (at, message) = (self.now(), Arc::new(heard.message));
        let report = match self.waiting.get(&row.id) {
            Some(waiting) => waiting.report,
            None => {
                let report = self.begin(hosted, &message, heard.sealed);
                let has_tasks = false;
                let waiting = Waiting { report, has_tasks };
                self.waiting.insert(row.id, waiting);
                report
            }
        };
        let done: Vec<String> = row.done.iter().cloned().collect();
        let runner = Runner::on(self.stage.clone(), hosted);
        let header = message.header.as_ref();
        if header.is_some_and(|header| header.is_expired(at)) {
            self.summary.expired += 1;
            self.ledger.note(report, "it had expired".to_owned());
            // If a behaviour fails to say whether it watches the message, none is told.
            let shown = runner.show(&message, &done).await.unwrap_or_default();
            let expire = Commit::Expire {
                message: row.id,
                watchers: shown.watchers,
                at,
            };
            self.state.apply(&expire)?;
            return Ok(());
        }
        if let Some(reason) = heard.unopened {
            let note = format!("cannot be opened: {reason}");
            return self.unacted(row, Vec::new(), report, note);
        }
        if heard.sealed && !message.sealed {
            self.summary.closed += 1;
            self.ledger.mark_incomplete(report);
            return self.unacted(row, Vec::new(), report, "sealed and not opened".to_owned());
        }
        let answer = match reading::answer(&message, message.answers.is_some()) {
            Ok(answer) => answer,
            Err(reason) => {
                let note = format!("no behaviour acts on it: {reason}");
                return self.unacted(row, Vec::new(), report, note);
            }
        };
        if let (Some(KnownCommand::Ack(ack)), Some(outbox)) = (answer, heard.asked) {
            self.state.apply(&Commit::Acknowledge {
                outbox,
                state: ack.status.into(),
                detail: ack.detail.map(|detail| detail.as_str().to_owned()),
                at,
            })?;
        }
        let subject = Subject {
            hosted,
            event: EventRef::Inbox(row.id),
            kind: None,
            attempts: row.attempts,
            trail: durable::trail(None, Some(&message)),
            message: Some(&message),
            watchers: &[],
            place: ReportPlace::Open(report),
        };
        let shown = match runner.show(&message, &done).await {
            Ok(shown) => shown,
            Err((instance, error)) => return self.fail(&subject, instance, &error),
        };
        let unacted = shown.unacted(&done);
        let Shown {
            accepting,
            watchers,
            ..
        } = shown;
        if accepting.is_empty() {
            let note = unacted.unwrap_or_default();
            return self.unacted(row, watchers, report, note);
        }
        let subject = Subject {
            watchers: &watchers,
            ..subject
        };
        let mut left = accepting.into_iter().peekable();
        while let Some(instance) = left.next() {
            let handled = left.peek().is_none().then(|| Handled {
                watchers: watchers.clone(),
                unacted: unacted.clone(),
            });
            let event = Event::Message(Arc::clone(&message));
            if !self.run(&subject, instance, event, handled).await? {
                break;
            }
        }
        Ok(())
    }

    /// No behaviour handles a message, for this reason.
    fn unacted(
        &mut self,
        row: &row::Message,
        watchers: Vec<String>,
        report: ReportId,
        reason: String,
    ) -> Result<(), ReplayError> {
        self.ledger.note(report, reason.clone());
        let handled = Handled {
            watchers,
            unacted: Some(reason),
        };
        self.state.apply(&Commit::Outcome(Outcome {
            handled: Some(handled),
            ..Outcome::nothing(EventRef::Inbox(row.id), row.attempts, self.now())
        }))?;
        Ok(())
    }

    /// Reads a message: opens it, and finds the agent's message that it answers.
    async fn read(&self, hosted: &Hosted, row: &row::Message) -> Result<Heard, ReplayError> {
        let due = read::due_message(row)?;
        let mut message = reading::plain(&due.stored, (&due).into());
        message.standing = row.standing;
        let sealed = message.cmd() == Some("SEALED");
        let mut unopened = None;
        if sealed && let Some(keyring) = self.cast.keyring.clone() {
            let id = hosted.id;
            let open = move || keyring.open(id, &due.stored, due.authenticity);
            let opened = self.stage.workers.spawn_blocking(open).await;
            let opened = opened.map_err(|_| ReplayError::Panicked)?;
            match opened.map_err(ReplayError::Unlock)? {
                Ok(payload) => {
                    message.payload = payload;
                    message.sealed = true;
                }
                Err(reason) => unopened = Some(reason),
            }
        }
        let question = self.question(hosted, &message)?;
        let (answers, asked) = question.unzip();
        message.answers = answers;
        Ok(Heard {
            message,
            sealed,
            unopened,
            asked: asked.flatten(),
        })
    }

    /// The agent's message that a message answers, and its row in this replay. Only the recipient of
    /// that message can answer it.
    fn question(
        &self,
        hosted: &Hosted,
        message: &Message,
    ) -> Result<Option<(Answered, Option<OutboxId>)>, ReplayError> {
        let Some(transaction) = reading::names(message) else {
            return Ok(None);
        };
        let agent = hosted.id;
        let mut question = self
            .state
            .query(|state| own::question(state, agent, transaction))?;
        let asked = question.as_ref().map(|question| question.outbox);
        let is_known = |question: &Question| question.behaviour.is_some();
        if !question.as_ref().is_some_and(is_known) {
            question = self
                .past
                .question(&hosted.address, transaction)?
                .or(question);
        }
        let question = question.filter(|question| reading::is_from(message, &question.recipient));
        Ok(question.map(|question| {
            let answered = Answered {
                transaction,
                behaviour: question.behaviour,
                label: question.label,
            };
            (answered, asked)
        }))
    }

    /// Shows an event to the behaviour that it belongs to.
    pub(super) async fn handle_event(
        &mut self,
        hosted: &Arc<Hosted>,
        due: &DueEvent,
    ) -> Result<(), ReplayError> {
        let (row, height) = (&*due.row, self.height);
        let message = match &due.message {
            Some(message) => Some(Arc::new(self.read(hosted, message).await?.message)),
            None => None,
        };
        let (behaviour, name) = (row.behaviour.clone(), row.name.clone());
        let place = match row.kind {
            EventKind::Timer => Some(ReportPlace::New(Cause::Timer {
                height,
                behaviour,
                name,
            })),
            EventKind::Delivery => {
                let update = row.data.pointer("/update/update").and_then(Value::as_str);
                Some(ReportPlace::New(Cause::DeliveryUpdate {
                    height,
                    behaviour,
                    label: name,
                    update: update.unwrap_or_default().to_owned(),
                }))
            }
            EventKind::Settled => {
                let waiting = row.inbox.and_then(|id| self.waiting.get(&id));
                waiting.map(|waiting| ReportPlace::Open(waiting.report))
            }
            EventKind::Task | EventKind::Renewal | EventKind::Start | EventKind::Tick => None,
        };
        let instances = &hosted.config.behaviours;
        let instance = instances.iter().find(|one| one.name == row.behaviour);
        let event = Event::of(due, message.as_ref(), &hosted.config.name);
        let (Some(place), Some(instance), Some(event)) = (place, instance, event) else {
            let nothing = Outcome::nothing(EventRef::Event(row.id), row.attempts, self.now());
            self.state.apply(&Commit::Outcome(nothing))?;
            return Ok(());
        };
        let subject = Subject {
            hosted,
            event: EventRef::Event(row.id),
            kind: Some(row.kind),
            attempts: row.attempts,
            trail: durable::trail(Some(row), message.as_deref()),
            message: message.as_deref(),
            watchers: &[],
            place,
        };
        self.run(&subject, instance, event, None).await?;
        Ok(())
    }
}
