//! Turning effects into drafts, and an outcome into one commit.

use std::sync::Arc;

use agentry_core::commit::{Handled, Outcome};
use agentry_core::rows::{Draft, DueMessage, EventKind, EventRef};
use agentry_core::state::row;
use agentry_core::{Cause, Commit, Origin};
use agentry_protocol::{Address, Timestamp, Trail};
use agentry_sdk::durable::{self, Sending};
use agentry_sdk::{BehaviourError, Effects, Message, Outgoing};
use agentry_store::StoreError;

use super::Work;
use super::under_way::Run;
use crate::config::BehaviourInstance;
use crate::config::approve::Approved;
use crate::runtime::backoff;
use crate::runtime::compose::{self, Author, Circumstances};
use crate::runtime::registry::Hosted;
use crate::runtime::traces::Span;

/// The cause of a behaviour's run.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Message(Arc<DueMessage>),
    Event(Arc<row::Event>),
}

impl Subject {
    pub(super) fn event(&self) -> EventRef {
        match self {
            Self::Message(message) => EventRef::Inbox(message.id),
            Self::Event(event) => EventRef::Event(event.id),
        }
    }

    fn origin(&self) -> Origin {
        match self {
            Self::Message(message) => Origin::of_message(message.digest),
            Self::Event(event) => event.origin.clone(),
        }
    }

    /// The event; `None` for a message.
    fn row(&self) -> Option<&row::Event> {
        match self {
            Self::Message(_) => None,
            Self::Event(event) => Some(event),
        }
    }

    /// When the message was seen; `None` for an event.
    pub(super) fn seen_at(&self) -> Option<Timestamp> {
        match self {
            Self::Message(message) => Some(message.seen_at),
            Self::Event(_) => None,
        }
    }

    /// What it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Event(event) => event.kind.as_str(),
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        match self {
            Self::Message(message) => message.attempts,
            Self::Event(event) => event.attempts,
        }
    }
}

impl Work {
    /// Has an outcome stored, together with the signed messages if nonces are free, and does not
    /// wait for that.
    ///
    /// # Errors
    /// The effects cannot be carried out.
    pub(super) async fn settle(
        &mut self,
        run: &Run,
        instance: &BehaviourInstance,
        message: Option<&Message>,
        effects: Effects,
        handled: Option<Handled>,
        (span, work): (&tracing::Span, &Span),
    ) -> Result<(), BehaviourError> {
        let (hosted, subject) = (&run.hosted, &run.subject);
        let now = self.shared.clock.now();
        let (event, origin) = (subject.event(), subject.origin());
        let cause = self.cause(hosted, subject, message, now);
        let mut trail = durable::trail(subject.row(), message);
        // What follows has the run as its parent, if the run is recorded.
        trail.trace = work.trace().or(trail.trace);
        let mut outcome = Outcome {
            behaviour: Some(instance.name.clone()),
            cause: cause.clone(),
            handled,
            again_at: run.again_at,
            trail,
            ..Outcome::nothing(event, subject.attempts(), now)
        };
        let sends = effects.record(
            &mut outcome,
            durable::least_pause(subject.row().map(|event| event.kind)),
        );
        let approve = hosted.config.common.approve.and(instance.approve);
        outcome.tasks_unapproved = approve.has(Approved::StartTask);
        for sending in sends {
            let unapproved = approve.holds(&sending);
            let Sending {
                index,
                to,
                outgoing,
            } = sending;
            let (to, answers) = match (to, message) {
                (Some(to), _) => (to, None),
                (None, Some(message)) => (message.from.clone(), Some(message)),
                (None, None) => {
                    return Err(BehaviourError::permanent(format!(
                        "effect {index} answers a message, and the event is about none"
                    )));
                }
            };
            let origin = origin.draft(&instance.name, index);
            let draft = self.draft(run, instance, &origin, &to, &outgoing, (answers, trail));
            let mut draft = draft.await?;
            // The sender's share pays for everything that follows from its message, answer or not.
            draft.cause = cause.clone();
            draft.unapproved = unapproved;
            outcome.sends.push((draft, None));
        }
        let memory = self.memory.get_or_insert_default();
        let memory = memory.entry(instance.name.clone()).or_default();
        for (key, value) in outcome.state.clone() {
            match value {
                Some(value) => memory.insert(key, value),
                None => memory.remove(&key),
            };
        }
        self.store_behind(run.clone(), outcome, span);
        Ok(())
    }

    /// The sender that caused a behaviour's run.
    fn cause(
        &self,
        hosted: &Hosted,
        subject: &Subject,
        message: Option<&Message>,
        now: Timestamp,
    ) -> Cause {
        let of_message = |message: &Message| Cause::of(message.standing, &message.from);
        match subject {
            Subject::Message(_) => message.map(of_message).unwrap_or_default(),
            Subject::Event(event) => match event.kind {
                EventKind::Settled => message.map(of_message).unwrap_or_default(),
                EventKind::Timer | EventKind::Delivery | EventKind::Task => {
                    self.standings().again(hosted, &event.cause, now)
                }
                EventKind::Renewal | EventKind::Start | EventKind::Tick => Cause::Own,
            },
        }
    }

    /// A draft of a message that a behaviour sends.
    async fn draft(
        &mut self,
        run: &Run,
        instance: &BehaviourInstance,
        origin: &str,
        to: &Address,
        outgoing: &Outgoing,
        (answers, trail): (Option<&Message>, Trail),
    ) -> Result<Draft, BehaviourError> {
        let hosted = &run.hosted;
        let public_key = match hosted.public_key {
            Some(key) => key,
            None => {
                let keys = self.keys().await;
                let keys = keys.map_err(|error| BehaviourError::transient(error.to_string()))?;
                keys.0
            }
        };
        let now = self.shared.clock.local();
        Ok(compose::compose(
            outgoing,
            Author::hosted(hosted, public_key, Some(&instance.name)),
            Circumstances {
                origin,
                to,
                answers,
                trail,
                recipient_key: self.shared.directory.enc_key_of(to, now),
                chain: &self.links.chain,
                now,
                plain: false,
            },
        )?)
    }

    /// A run failed: it is retried, or the event is moved to the dead-letter queue.
    pub(super) async fn fail(
        &mut self,
        run: &Run,
        error: &BehaviourError,
    ) -> Result<(), StoreError> {
        // If it built on an outcome that is void, so is this.
        match self.settled().await? {
            true => self.store_failure(run, error).await,
            false => Ok(()),
        }
    }

    pub(super) async fn store_failure(
        &self,
        run: &Run,
        error: &BehaviourError,
    ) -> Result<(), StoreError> {
        let Run {
            hosted,
            subject,
            behaviour,
            watchers,
            again_at,
        } = run;
        let now = self.shared.clock.now();
        let (event, attempts) = (subject.event(), subject.attempts());
        let attempt = attempts.saturating_add(1);
        // A card is announced repeatedly, and every announcement counts as an attempt.
        let unlimited =
            matches!(subject, Subject::Event(event) if event.kind == EventKind::Renewal);
        let again = error.is_transient() && (unlimited || attempt < hosted.config.common.attempts);
        let retry_at = again.then(|| now.plus(backoff::after(attempt)));
        if again {
            tracing::warn!(
                agent.name = hosted.config.name,
                behaviour.name = behaviour,
                attempt,
                %error,
                "a run failed; it is retried"
            );
        } else {
            self.shared.metrics.dead_letters(1);
            tracing::error!(
                agent.name = hosted.config.name,
                behaviour.name = behaviour,
                attempt,
                %error,
                "a run failed permanently; the event was moved to the dead-letter queue (agentry queue show {event})"
            );
        }
        let reason = if behaviour.is_empty() {
            error.to_string()
        } else {
            format!("{behaviour}: {error}")
        };
        self.shared
            .store
            .commit(Commit::Failure {
                event,
                attempts,
                reason,
                public: error.public().to_owned(),
                retry_at,
                again_at: *again_at,
                watchers: watchers.clone(),
                at: now,
            })
            .await?;
        Ok(())
    }
}
