//! A message: its expiry, its seal, the message that it answers, and the behaviours that handle it.

use std::sync::Arc;

use actix::prelude::*;
use agentry_core::commit::{Handled, Outcome};
use agentry_core::rows::{DueMessage, EventRef};
use agentry_core::{Commit, OutboxId};
use agentry_protocol::{Address, Authenticity, KnownCommand, Payload, Trace};
use agentry_sdk::{Answered, BehaviourError, Event, Message};
use agentry_store::StoreError;

use super::Work;
use super::settle::Subject;
use super::under_way::Run;
use crate::config::BehaviourInstance;
use crate::runtime::reading::{self, ChainPlace};
use crate::runtime::registry::Hosted;
use crate::runtime::runner::{Runner, Shown};
use crate::runtime::signer::OpenSealed;
use crate::runtime::standing::Standings;
use crate::runtime::traces::{Role, Span, names};

/// The kind of a message after it was examined.
enum Read {
    /// To be shown to the behaviours.
    Whole(Box<Message>),
    /// Nothing handles the message; the reason.
    Nothing(String),
    /// It cannot be read now.
    NotNow(BehaviourError),
    /// It answers a message of ours that is not rebuilt yet.
    Early,
}

/// Whose turns a message takes: its verified sender's, or `None`, those of all unverified senders.
pub(super) fn lane(message: &DueMessage) -> Option<Address> {
    let verified = message.authenticity == Authenticity::Verified;
    verified.then(|| message.stored.from.clone())
}

/// How long such an answer waits before it is checked again, in milliseconds.
const EARLY_MS: u64 = 1_000;

/// What a span tells of a message.
fn describe(span: &mut Span, hosted: &Hosted, message: &Message) {
    span.text(names::AGENT, &hosted.config.name);
    span.text(names::MESSAGE, names::kind_of(message));
    span.text(names::FROM, message.from.as_str());
    span.text(names::AUTHENTICITY, message.authenticity.as_str());
    span.text_of(names::TRANSACTION, || message.transaction.to_string());
    span.number(names::BLOCK, message.height.0);
}

/// Why a run failed, as far as a trace may tell.
pub(super) const fn reason_of(error: &BehaviourError) -> &'static str {
    if error.is_transient() {
        "transient"
    } else {
        "permanent"
    }
}

impl Work {
    /// Begins the span of a behaviour's run.
    pub(super) fn begin_run(
        &self,
        run: &Run,
        instance: &BehaviourInstance,
        parent: Option<Trace>,
    ) -> Span {
        let traces = &self.shared.traces;
        let name = || format!("behaviour {}", instance.kind);
        let mut span = traces.begin(Role::Internal, name, parent);
        span.text(names::AGENT, &run.hosted.config.name);
        span.text(names::BEHAVIOUR, &instance.name);
        span.text(names::EVENT, run.subject.kind());
        span.number(names::ATTEMPT, u64::from(run.subject.attempts()) + 1);
        span
    }

    /// Shows a message to every behaviour that has to see it.
    pub(super) async fn handle_message(
        &mut self,
        hosted: &Arc<Hosted>,
        due: &Arc<DueMessage>,
        span: &tracing::Span,
    ) -> Result<(), StoreError> {
        let subject = Subject::Message(Arc::clone(due));
        if !self.admit(hosted, due).await? {
            return Ok(());
        }
        let shared = self.shared.clone();
        let runner = Runner::new(&shared, hosted);
        let plain = self.plain(hosted, due);
        let is_over = |now| {
            let header = plain.header.as_ref();
            header.is_some_and(|header| header.is_expired(now))
        };
        if is_over(self.shared.clock.confirmed()) {
            return self.expire(&runner, due, plain).await;
        }
        // Expired by the local clock alone: neither handled nor dropped. The next pull skips it.
        if is_over(self.shared.clock.local()) {
            return Ok(());
        }
        let message = match self.read(due, plain).await? {
            Read::Whole(message) => Arc::new(*message),
            Read::Nothing(reason) => {
                self.unacted(Run::new(hosted, subject, ""), Some(reason), span);
                return Ok(());
            }
            Read::Early => return self.postpone(due).await,
            Read::NotNow(error) => {
                return self.fail(&Run::new(hosted, subject, ""), &error).await;
            }
        };
        let shown = match runner.show(&message, &due.done).await {
            Ok(shown) => shown,
            Err((instance, error)) => {
                let run = Run::new(hosted, subject, &instance.name);
                return self.fail(&run, &error).await;
            }
        };
        if due.untried {
            let waited = self.shared.clock.now().since(due.seen_at);
            self.shared.metrics.message_waited(waited);
        }
        let unacted = shown.unacted(&due.done);
        let Shown {
            accepting,
            watchers,
            ..
        } = shown;
        let mut left = accepting.into_iter().peekable();
        if left.peek().is_none() {
            let run = Run {
                watchers,
                ..Run::new(hosted, subject, "")
            };
            self.unacted(run, unacted, span);
            return Ok(());
        }
        let mut work = self.shared.traces.begin(
            Role::Consumer,
            || format!("process {}", names::kind_of(&message)),
            message.trail().trace,
        );
        describe(&mut work, hosted, &message);
        while let Some(instance) = left.next() {
            let handled = left.peek().is_none().then(|| Handled {
                watchers: watchers.clone(),
                unacted: unacted.clone(),
            });
            let state = self.state(&instance.name);
            let event = Event::Message(Arc::clone(&message));
            let run = Run {
                watchers: watchers.clone(),
                ..Run::new(hosted, subject.clone(), &instance.name)
            };
            let mut part = self.begin_run(&run, instance, work.trace());
            let settled = match runner.run(instance, event, due.attempts, state).await {
                Ok(effects) => {
                    self.settle(
                        &run,
                        instance,
                        Some(&message),
                        effects,
                        handled,
                        (span, &part),
                    )
                    .await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = settled {
                part.failed(reason_of(&error));
                work.failed(reason_of(&error));
                return self.fail(&run, &error).await;
            }
        }
        Ok(())
    }

    /// Whether a message may be handled by the rate of its sender. If not, it stays in the queue,
    /// and its sender has to wait; a message that has waited too long is moved to the dead-letter
    /// queue.
    async fn admit(&mut self, hosted: &Hosted, due: &DueMessage) -> Result<bool, StoreError> {
        let Some(rate) = hosted.config.common.per_sender_rate else {
            return Ok(true);
        };
        // Its token was taken at its first attempt.
        if due.attempts > 0 || !due.done.is_empty() {
            return Ok(true);
        }
        let lane = lane(due);
        let sender = lane.as_ref().map(Address::as_str);
        if self.paused.contains_key(&lane) {
            return Ok(false);
        }
        let now = self.shared.clock.now();
        let Err(until) = self.shared.rates.take(self.id, sender, rate, now) else {
            return Ok(true);
        };
        tracing::debug!(
            agent.name = hosted.config.name,
            message.from = sender.unwrap_or("unverified senders"),
            "the sender is over its rate; its messages wait"
        );
        self.shared.metrics.rate_paused();
        self.pause(lane.clone(), until);
        let max_wait = hosted.config.common.max_wait;
        let before = now.minus(max_wait);
        let (agent, of_sender) = (self.id, lane.clone());
        // A seek: messages that still have time cost nothing, however many they are.
        let is_beyond_timeout = self
            .shared
            .store
            .query(move |state| state.is_beyond_timeout(agent, of_sender.as_ref(), before))
            .await?;
        if !is_beyond_timeout {
            return Ok(false);
        }
        let timeout = Commit::RateLimitTimeout {
            agent,
            sender: lane.clone(),
            before,
            reason: format!(
                "waited for longer than max_wait = {}: its sender is over per_sender_rate = {rate}",
                humantime::format_duration(max_wait)
            ),
            at: now,
        };
        let given_up = self.shared.store.commit(timeout).await?.rows;
        if given_up > 0 {
            self.shared.metrics.dead_letters(given_up);
            tracing::warn!(
                agent.name = hosted.config.name,
                message.from = sender.unwrap_or("unverified senders"),
                messages = given_up,
                "messages waited for longer than max_wait and were moved to the dead-letter queue"
            );
        }
        Ok(false)
    }

    /// The known senders.
    pub(super) fn standings(&self) -> Standings {
        Standings {
            registry: self.links.registry.clone(),
            directory: self.shared.directory.clone(),
        }
    }

    /// The message as its transaction carries it.
    fn plain(&self, hosted: &Hosted, due: &DueMessage) -> Message {
        let mut message = reading::plain(&due.stored, ChainPlace::from(due));
        let now = self.shared.clock.local();
        message.standing = self.standings().of(hosted, &message, now);
        message
    }

    /// Opens a message, and finds the message that it answers.
    async fn read(&self, due: &DueMessage, mut message: Message) -> Result<Read, StoreError> {
        if let Payload::Command(command) = &message.payload
            && command.cmd == "SEALED"
        {
            let open = OpenSealed {
                agent: self.id,
                stored: Box::new(due.stored.clone()),
                authenticity: due.authenticity,
            };
            match self.links.signer.open.send(open).await {
                Ok(Ok(Ok(payload))) => {
                    message.payload = payload;
                    message.sealed = true;
                }
                Ok(Ok(Err(reason))) => return Ok(Read::Nothing(reason)),
                Ok(Err(error)) => {
                    return Ok(Read::NotNow(BehaviourError::transient(error.to_string())));
                }
                Err(MailboxError::Closed | MailboxError::Timeout) => {
                    return Ok(Read::NotNow(BehaviourError::transient(
                        "the signer has ended",
                    )));
                }
            }
        }
        let question = self.question(&message).await?;
        if question.is_none() && self.is_early(due, &message).await? {
            return Ok(Read::Early);
        }
        let answer = match reading::answer(&message, question.is_some()) {
            Ok(answer) => answer,
            Err(reason) => return Ok(Read::Nothing(reason)),
        };
        if let (Some(KnownCommand::Ack(ack)), Some((outbox, _))) = (&answer, &question) {
            let acknowledge = Commit::Acknowledge {
                outbox: *outbox,
                state: ack.status.into(),
                detail: ack.detail.as_ref().map(|detail| detail.as_str().to_owned()),
                at: self.shared.clock.now(),
            };
            let changes = self.shared.store.commit(acknowledge).await?;
            if changes.is_applied() {
                tracing::info!(
                    ack.status = ack.status.as_str(),
                    "an acknowledgment of a sent message arrived"
                );
            }
        }
        message.answers = question.map(|(_, answered)| answered);
        Ok(Read::Whole(Box::new(message)))
    }

    /// The message that an event is about, as its behaviours saw it. A message that cannot be
    /// opened any more is shown sealed.
    pub(super) async fn read_again(
        &self,
        hosted: &Hosted,
        due: &DueMessage,
    ) -> Result<Message, StoreError> {
        match self.read(due, self.plain(hosted, due)).await? {
            Read::Whole(message) => Ok(*message),
            Read::Nothing(_) | Read::NotNow(_) | Read::Early => Ok(self.plain(hosted, due)),
        }
    }

    /// The question of ours that a message answers: it counts only if the answer is from the wallet
    /// that was asked.
    async fn question(
        &self,
        message: &Message,
    ) -> Result<Option<(OutboxId, Answered)>, StoreError> {
        let Some(re) = reading::names(message) else {
            return Ok(None);
        };
        let agent = self.id;
        let question = self
            .shared
            .store
            .query(move |state| state.question(agent, re))
            .await?;
        Ok(question
            .filter(|question| reading::is_from(message, &question.recipient))
            .map(|question| {
                let answered = Answered {
                    transaction: re,
                    behaviour: question.behaviour,
                    label: question.label,
                };
                (question.outbox, answered)
            }))
    }

    /// Whether a message answers one of ours that the chain shows, and that this store has lost and
    /// is rebuilding.
    async fn is_early(&self, due: &DueMessage, message: &Message) -> Result<bool, StoreError> {
        let Some(re) = reading::names(message) else {
            return Ok(false);
        };
        let (agent, id, now) = (self.id, due.id, self.shared.clock.now());
        self.shared
            .store
            .query(move |state| state.is_being_rebuilt(agent, re, id, now))
            .await
    }

    async fn postpone(&self, due: &DueMessage) -> Result<(), StoreError> {
        let postpone = Commit::Postpone {
            event: EventRef::Inbox(due.id),
            until: self.shared.clock.now().plus_ms(EARLY_MS),
            reason: "waits: it answers a message of ours that this store does not have, and that earlier blocks may restore".to_owned(),
        };
        self.shared.store.commit(postpone).await?;
        Ok(())
    }

    async fn expire(
        &self,
        runner: &Runner<'_>,
        due: &DueMessage,
        message: Message,
    ) -> Result<(), StoreError> {
        // A behaviour that fails to say whether it watches the message is not told.
        let shown = runner.show(&Arc::new(message), &due.done).await;
        let expire = Commit::Expire {
            message: due.id,
            watchers: shown.map(|shown| shown.watchers).unwrap_or_default(),
            at: self.shared.clock.now(),
        };
        self.shared.store.commit(expire).await?;
        self.shared.metrics.expired();
        tracing::info!("the message expired before its turn came");
        Ok(())
    }

    /// No further behaviour handles a message; `reason` says why none does at all.
    fn unacted(&mut self, run: Run, reason: Option<String>, span: &tracing::Span) {
        if let Some(reason) = &reason {
            tracing::debug!(reason, "no behaviour handles the message");
        }
        let handled = Handled {
            watchers: run.watchers.clone(),
            unacted: reason,
        };
        let outcome = Outcome {
            handled: Some(handled),
            ..run.nothing(self.shared.clock.now())
        };
        self.store_behind(run, outcome, span);
    }
}
