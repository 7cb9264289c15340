//! Runs a handler, and commits its effects: all of them, or none.

use std::sync::Arc;

use agentry_core::commit::{Handled, Outcome};
use agentry_core::rows::{EventKind, EventRef};
use agentry_core::state::Refusal;
use agentry_core::{Cause, Commit, SendResult};

use agentry_protocol::{Timestamp, Trail};

use super::Simulation;
use super::outbox::Author;
use super::sent::Run;
use super::simulation::Subject;
use crate::durable::{Sending, least_pause};
use crate::{BehaviourError, Context, Effects, Event, Message};

/// The number of runs of a behaviour after which an event is a dead letter: the runtime's default.
pub const ATTEMPTS: u32 = 5;
/// How many messages a message may follow from before an agent does not act on it: the runtime's
/// default.
pub const MAX_HOPS: u32 = 16;
/// The pause after the first failed attempt. Each further pause is twice as long.
const MIN_BACKOFF_MS: u64 = 500;
/// The longest pause.
const MAX_BACKOFF_MS: u64 = 300_000;
/// The pause of an event for whose effects there is no room.
const ROOM_PAUSE_MS: u64 = 5_000;

/// The pause after this many failed attempts.
pub(super) fn backoff_ms(failed: u32) -> u64 {
    let factor = 1_u64.checked_shl(failed.saturating_sub(1).min(32));
    MIN_BACKOFF_MS
        .saturating_mul(factor.unwrap_or(u64::MAX))
        .min(MAX_BACKOFF_MS)
}

/// What a behaviour is run for.
pub(super) struct Work<'a> {
    pub(super) host: usize,
    pub(super) behaviour: &'a str,
    pub(super) reference: EventRef,
    /// Its kind; `None` for a message.
    pub(super) kind: Option<EventKind>,
    pub(super) attempts: u32,
    /// What the messages of the run carry on.
    pub(super) trail: Trail,
    /// The next time of the schedule, if it is for a tick.
    pub(super) again_at: Option<Timestamp>,
    pub(super) event: Event,
    /// The message that it is, or is about.
    pub(super) message: Option<Arc<Message>>,
    pub(super) cause: Cause,
    pub(super) handled: Option<Handled>,
}

pub(super) enum Ran {
    /// Its effects are committed.
    Committed,
    /// The process ended before the commit, or there was no room for it.
    Again,
    /// It failed.
    Failed(BehaviourError),
}

impl Simulation {
    /// Runs a handler once, and commits its effects if it succeeds.
    pub(super) async fn run(&mut self, work: &Work<'_>) -> Ran {
        let Some(hosted) = self.hosts.get(work.host) else {
            return Ran::Committed;
        };
        let Some(instance) = hosted.instance(work.behaviour) else {
            return Ran::Committed;
        };
        let behaviour = Arc::clone(&instance.behaviour);
        let context = Context {
            agent: hosted.agent.name.clone(),
            address: hosted.party.address.clone(),
            behaviour: instance.name.clone(),
            attempt: work.attempts + 1,
            now: self.now,
            state: self.state_of(hosted.id, work.behaviour),
            environment: Arc::new(self.environment.clone()),
        };
        let outcome = behaviour.on_event(&work.event, &context).await;
        let dies = self.dies_before_commit(work.host);
        let record = |outcome, committed, impossible| Run {
            agent: context.agent.clone(),
            behaviour: context.behaviour.clone(),
            event: work.event.clone(),
            attempt: context.attempt,
            outcome,
            committed,
            impossible,
        };
        if dies {
            let outcome = outcome.map_err(|error| error.to_string());
            self.runs.push(record(outcome, false, false));
            return Ran::Again;
        }
        let asked = outcome.is_ok();
        let committed = match outcome {
            Ok(effects) => self
                .carry_out(work, effects.clone())
                .map(|done| (effects, done)),
            Err(error) => Err(error),
        };
        match committed {
            Ok((effects, done)) => {
                self.runs.push(record(Ok(effects), done, false));
                if !done {
                    return Ran::Again;
                }
                self.may_die_after_commit();
                Ran::Committed
            }
            Err(error) => {
                let impossible = asked && !error.is_transient();
                let reason = error.to_string();
                self.runs.push(record(Err(reason), false, impossible));
                Ran::Failed(error)
            }
        }
    }

    /// Commits the effects of a run, all or none, and posts what it sends. Returns whether there
    /// was room for them: otherwise the event is postponed.
    ///
    /// # Errors
    /// An effect is impossible now (transient) or always (permanent).
    fn carry_out(&mut self, work: &Work<'_>, effects: Effects) -> Result<bool, BehaviourError> {
        let impossible = |error: String| BehaviourError::permanent(error);
        effects
            .check()
            .map_err(|error| impossible(error.to_string()))?;
        let now = self.now;
        let mut outcome = Outcome {
            behaviour: Some(work.behaviour.to_owned()),
            cause: work.cause.clone(),
            handled: work.handled.clone(),
            again_at: work.again_at,
            trail: work.trail,
            ..Outcome::nothing(work.reference, work.attempts, now)
        };
        let Some(origin) = self.store.origin(work.reference) else {
            return Err(impossible("its event is gone".to_owned()));
        };
        let mut composed = Vec::new();
        for Sending {
            index,
            to,
            outgoing,
        } in effects.record(&mut outcome, least_pause(work.kind))
        {
            let author = Author {
                host: work.host,
                behaviour: work.behaviour,
                origin: origin.draft(work.behaviour, index),
                cause: work.cause.clone(),
                trail: work.trail,
            };
            let (to, question) = match (to, &work.message) {
                (Some(to), _) => (to, None),
                (None, Some(message)) => (message.from.clone(), Some(&**message)),
                (None, None) => {
                    let reason =
                        "a reply needs a message to answer, and this event is not about one";
                    return Err(impossible(reason.to_owned()));
                }
            };
            composed.push(self.compose(author, to, outgoing, question)?);
        }
        let signed = composed.iter();
        let signed = signed.map(|one| (one.draft.clone(), Some(one.prepared.clone())));
        outcome.sends = signed.collect();
        let changes = match self.commit(&Commit::Outcome(outcome)) {
            Ok(changes) => changes,
            Err(Refusal::Full { reason }) => {
                self.must(&Commit::Postpone {
                    event: work.reference,
                    until: now.plus_ms(ROOM_PAUSE_MS),
                    reason,
                });
                return Ok(false);
            }
            Err(refusal) => return Err(impossible(refusal.to_string())),
        };
        for (row, one) in changes.sends.iter().zip(composed) {
            if let SendResult::Stored(id) | SendResult::OnChain(id) = *row {
                self.sent.insert(id, one.sent);
                self.post_own(id, one.transaction);
            }
        }
        Ok(true)
    }

    /// A run failed: it is retried, or its event becomes a dead letter.
    pub(super) fn fail(
        &mut self,
        work: Work<'_>,
        (subject, error): (Option<Subject>, &BehaviourError),
        watchers: Vec<String>,
    ) {
        let at = self.now;
        let attempt = work.attempts + 1;
        let most = self
            .hosts
            .get(work.host)
            .map_or(0, |host| host.agent.attempts);
        let again = error.is_transient() && attempt < most;
        let reason = format!("{}: {error}", work.behaviour);
        self.must(&Commit::Failure {
            event: work.reference,
            attempts: work.attempts,
            reason: reason.clone(),
            public: error.public().to_owned(),
            retry_at: again.then(|| at.plus_ms(backoff_ms(attempt))),
            again_at: work.again_at,
            watchers,
            at,
        });
        if !again {
            self.dead_letters.push((work.event, reason));
            if let Some(subject) = subject {
                self.failures.insert(subject, error.public().to_owned());
            }
        }
    }
}
