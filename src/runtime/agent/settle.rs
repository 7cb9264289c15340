//! Turning effects into drafts, and an outcome into one commit.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::commit::{Changes, CommitResult, Handled, Outcome};
use agentry_core::rows::{Draft, DueMessage, EventKind, EventRef};
use agentry_core::state::row;
use agentry_core::{Cause, Commit, Origin};
use agentry_protocol::{Address, Timestamp};
use agentry_sdk::durable::{self, Sending};
use agentry_sdk::{Authenticity, BehaviourError, Effects, Message, Outgoing};
use agentry_store::StoreError;

use super::Work;
use crate::config::BehaviourInstance;
use crate::runtime::backoff;
use crate::runtime::compose::{self, Author, Circumstances};
use crate::runtime::registry::Hosted;
use crate::runtime::submitter::Submit;

/// How long a sender that has used up its room waits before it is checked again.
const ROOM_PAUSE: Duration = Duration::from_secs(5);

/// The cause of a behaviour's run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    Message(&'a DueMessage),
    Event(&'a row::Event),
}

impl Subject<'_> {
    fn event(self) -> EventRef {
        match self {
            Self::Message(message) => EventRef::Inbox(message.id),
            Self::Event(event) => EventRef::Event(event.id),
        }
    }

    fn origin(self) -> Origin {
        match self {
            Self::Message(message) => Origin::of_message(message.digest),
            Self::Event(event) => event.origin.clone(),
        }
    }

    /// The kind of the event; `None` for a message.
    fn kind(self) -> Option<EventKind> {
        match self {
            Self::Message(_) => None,
            Self::Event(event) => Some(event.kind),
        }
    }

    fn attempts(self) -> u32 {
        match self {
            Self::Message(message) => message.attempts,
            Self::Event(event) => event.attempts,
        }
    }
}

impl Work {
    /// Stores an outcome, together with the signed messages if nonces were free. Returns whether
    /// the event is still this agent's to continue with; the inner error says why the effects
    /// cannot be carried out.
    #[expect(clippy::too_many_arguments, reason = "it combines all parts of a run")]
    pub(super) async fn settle(
        &mut self,
        hosted: &Arc<Hosted>,
        subject: Subject<'_>,
        message: Option<&Message>,
        instance: &BehaviourInstance,
        effects: Effects,
        handled: Option<Handled>,
        span: &tracing::Span,
    ) -> Result<Result<bool, BehaviourError>, StoreError> {
        let now = self.shared.clock.now();
        let (event, origin) = (subject.event(), subject.origin());
        let is_handled = handled.is_some();
        let cause = self.cause(hosted, subject, message, now);
        let mut outcome = Outcome {
            behaviour: Some(instance.name.clone()),
            cause: cause.clone(),
            handled,
            ..Outcome::nothing(event, subject.attempts(), now)
        };
        let sends = effects.record(&mut outcome, durable::least_pause(subject.kind()));
        let mut drafts = Vec::new();
        for Sending {
            index,
            to,
            outgoing,
        } in sends
        {
            let (to, answers) = match (to, message) {
                (Some(to), _) => (to, None),
                (None, Some(message)) => (message.from.clone(), Some(message)),
                (None, None) => {
                    return Ok(Err(BehaviourError::permanent(format!(
                        "effect {index} answers a message, and the event is about none"
                    ))));
                }
            };
            let origin = origin.draft(&instance.name, index);
            match self
                .draft(hosted, instance, &origin, &to, &outgoing, answers)
                .await
            {
                Ok(mut draft) => {
                    // The sender's share pays for everything that follows from its message, answer
                    // or not.
                    draft.cause = cause.clone();
                    drafts.push(draft);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        outcome.sends = drafts.into_iter().map(|draft| (draft, None)).collect();
        let state = outcome.state.clone();
        let changes = match self.commit(outcome, span).await {
            Ok(Some(changes)) => changes,
            Ok(None) => return Ok(Ok(false)),
            // None of it was stored.
            Err(StoreError::Full { reason }) => {
                self.wait_for_room(hosted, subject, reason).await?;
                return Ok(Ok(false));
            }
            Err(StoreError::TooMuch { reason }) => {
                return Ok(Err(BehaviourError::permanent(reason)));
            }
            Err(error) => return Err(error),
        };
        if changes.tasks {
            self.shared.pool.wake();
        }
        if !changes.canceled.is_empty() {
            self.shared.pool.cancel(&changes.canceled);
        }
        let memory = self.memory.get_or_insert_default();
        let memory = memory.entry(instance.name.clone()).or_default();
        for (key, value) in state {
            match value {
                Some(value) => memory.insert(key, value),
                None => memory.remove(&key),
            };
        }
        if is_handled {
            self.shared.metrics.message_handled(self.shared.clock.now());
        }
        Ok(Ok(true))
    }

    /// The sender that caused a behaviour's run.
    fn cause(
        &self,
        hosted: &Hosted,
        subject: Subject<'_>,
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
                EventKind::Renewal => Cause::Own,
            },
        }
    }

    /// A draft of a message that a behaviour sends.
    async fn draft(
        &mut self,
        hosted: &Hosted,
        instance: &BehaviourInstance,
        origin: &str,
        to: &Address,
        outgoing: &Outgoing,
        answers: Option<&Message>,
    ) -> Result<Draft, BehaviourError> {
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
                recipient_key: self.shared.directory.enc_key_of(to, now),
                chain_id: &self.links.chain_id,
                now,
                plain: false,
            },
        )?)
    }

    /// Stores an outcome, and has sent what it sends. Does nothing if the outcome is void.
    pub(super) async fn commit(
        &self,
        outcome: Outcome,
        span: &tracing::Span,
    ) -> Result<Option<Changes>, StoreError> {
        let submit = Submit {
            agent: self.id,
            commit: Commit::Outcome(outcome),
            waits: true,
            span: span.clone(),
        };
        let changes = self.links.outbox.commit(submit).await?;
        if changes.result == CommitResult::Stale {
            tracing::info!(
                "the event was withdrawn or completed meanwhile; this outcome is discarded"
            );
            return Ok(None);
        }
        Ok(Some(changes))
    }

    /// There is no room for the outcome of a run: the event waits until there is, and so do the
    /// sender's other events. This is neither a failure nor an attempt.
    async fn wait_for_room(
        &mut self,
        hosted: &Hosted,
        subject: Subject<'_>,
        reason: String,
    ) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        let until = now.plus(ROOM_PAUSE);
        let event = subject.event();
        if let Subject::Message(message) = subject {
            let verified = message.authenticity == Authenticity::Verified;
            let lane = verified.then(|| message.stored.from.clone());
            self.paused.insert(lane, until);
        }
        tracing::debug!(
            agent.name = hosted.config.name,
            reason,
            "{event} waits: there is no room for its effects"
        );
        self.shared
            .store
            .commit(Commit::Postpone {
                event,
                until,
                reason: format!("waits for room: {reason}"),
            })
            .await?;
        Ok(())
    }

    /// A run failed: it is retried, or the event is moved to the dead-letter queue. `behaviour` is
    /// empty if the run failed before any behaviour was called.
    pub(super) async fn fail(
        &self,
        hosted: &Hosted,
        subject: Subject<'_>,
        behaviour: &str,
        watchers: Vec<String>,
        error: &BehaviourError,
    ) -> Result<(), StoreError> {
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
                watchers,
                at: now,
            })
            .await?;
        Ok(())
    }
}
