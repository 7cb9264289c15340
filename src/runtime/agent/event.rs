//! Timers, delivery updates, settlements, news of tasks, starts, ticks, renewals, and messages that
//! were not acknowledged in time.

use std::sync::Arc;

use agentry_core::commit::Outcome;
use agentry_core::rows::{EventKind, EventRef, Overdue};
use agentry_core::state::due::DueEvent;
use agentry_core::state::row;
use agentry_core::{Commit, CommitResult, origin};
use agentry_protocol::{KnownCommand, Trail};
use agentry_sdk::{BehaviourError, Event, durable};
use agentry_store::{StoreError, read};

use super::Work;
use super::message::reason_of;
use super::settle::Subject;
use super::under_way::Run;
use crate::runtime::compose::{self, Author, Circumstances};
use crate::runtime::directory::Registration;
use crate::runtime::registry::Hosted;
use crate::runtime::runner::Runner;
use crate::runtime::submitter::{Queueing, Submit};

impl Work {
    /// Shows an event to the behaviour that it belongs to.
    pub(super) async fn handle_event(
        &mut self,
        hosted: &Arc<Hosted>,
        event: &DueEvent,
        span: &tracing::Span,
    ) -> Result<(), StoreError> {
        let due = &event.row;
        if due.kind == EventKind::Renewal {
            return self.renew(hosted, due, span).await;
        }
        let instance = hosted
            .config
            .behaviours
            .iter()
            .find(|instance| instance.name == due.behaviour);
        let Some(instance) = instance else {
            tracing::warn!(
                agent.name = hosted.config.name,
                behaviour.name = due.behaviour,
                "deleting an event of a behaviour that is not configured any more"
            );
            return self.delete(due).await;
        };
        let message = match &event.message {
            Some(message) => {
                let message = self.shared.store.report(read::due_message(message))?;
                Some(Arc::new(self.read_again(hosted, &message).await?))
            }
            None => None,
        };
        let Some(mut event) = Event::of(event, message.as_ref(), &hosted.config.name) else {
            tracing::warn!("deleting an event whose subject was pruned since");
            return self.delete(due).await;
        };
        let mut run = Run::new(hosted, Subject::Event(Arc::clone(due)), &instance.name);
        if let Event::Tick(tick) = &mut event {
            let scheduled = instance
                .schedules
                .iter()
                .find(|one| one.name() == tick.name);
            let Some(scheduled) = scheduled else {
                tracing::warn!(
                    agent.name = hosted.config.name,
                    behaviour.name = due.behaviour,
                    schedule.name = tick.name,
                    "deleting a tick of a schedule that is not configured any more"
                );
                return self.delete(due).await;
            };
            let turn = scheduled.turn(tick.at, due.attempts, self.shared.clock.now());
            run.again_at = turn.next;
            let Some(at) = turn.run else {
                tracing::info!(
                    agent.name = hosted.config.name,
                    behaviour.name = due.behaviour,
                    schedule.name = tick.name,
                    "skipping missed times of a schedule"
                );
                self.store_behind(run.clone(), run.nothing(self.shared.clock.now()), span);
                return Ok(());
            };
            (tick.at, tick.missed) = (at.at, at.missed);
        }
        let shared = self.shared.clone();
        let state = self.state(&instance.name);
        let runner = Runner::new(&shared, hosted);
        let parent = durable::trail(Some(due), message.as_deref()).trace;
        let mut part = self.begin_run(&run, instance, parent);
        let settled = match runner.run(instance, event, due.attempts, state).await {
            Ok(effects) => {
                let message = message.as_deref();
                self.settle(&run, instance, message, effects, None, (span, &part))
                    .await
            }
            Err(error) => Err(error),
        };
        match settled {
            Ok(()) => Ok(()),
            Err(error) => {
                part.failed(reason_of(&error));
                self.fail(&run, &error).await
            }
        }
    }

    async fn delete(&self, due: &row::Event) -> Result<(), StoreError> {
        let at = self.shared.clock.now();
        let outcome = Outcome::nothing(EventRef::Event(due.id), due.attempts, at);
        self.shared.store.commit(Commit::Outcome(outcome)).await?;
        Ok(())
    }

    /// Announces the agent's card, and schedules its next announcement.
    async fn renew(
        &mut self,
        hosted: &Arc<Hosted>,
        due: &Arc<row::Event>,
        span: &tracing::Span,
    ) -> Result<(), StoreError> {
        let (now, local) = (self.shared.clock.now(), self.shared.clock.local());
        let Ok(registration) = Registration::read(&due.data) else {
            return self.delete(due).await;
        };
        let run = Run::new(hosted, Subject::Event(Arc::clone(due)), "");
        let (public_key, enc_key) = match self.keys().await {
            Ok(keys) => keys,
            Err(error) => {
                let error = BehaviourError::transient(error.to_string());
                return self.fail(&run, &error).await;
            }
        };
        let announce = KnownCommand::Announce(registration.announce(local, enc_key));
        // The row is reused for each renewal: the attempts distinguish its announcements.
        let origin = due.origin.announcement(due.attempts);
        let draft = compose::compose(
            &agentry_sdk::Outgoing::command(&announce),
            Author::hosted(hosted, public_key, None),
            Circumstances {
                origin: &origin,
                to: &hosted.address,
                answers: None,
                trail: Trail::NONE,
                recipient_key: None,
                chain: &self.links.chain,
                now: local,
                plain: false,
            },
        );
        let draft = match draft {
            Ok(draft) => draft,
            Err(error) => {
                let error = BehaviourError::transient(error.to_string());
                return self.fail(&run, &error).await;
            }
        };
        let outcome = Outcome {
            sends: vec![(draft, None)],
            again_at: Some(registration.next_renewal(now)),
            ..Outcome::nothing(EventRef::Event(due.id), due.attempts, now)
        };
        self.store_behind(run, outcome, span);
        tracing::info!(
            agent.name = hosted.config.name,
            "announcing the agent's card"
        );
        Ok(())
    }

    /// Resends a message that was not acknowledged in time, or stops retrying.
    pub(super) async fn handle_overdue(&mut self, overdue: Overdue) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        // A message that has expired by the local clock alone is queued, and waits until that is
        // certain.
        let confirmed = self.shared.clock.confirmed();
        let expired = overdue.draft.expires_at.is_some_and(|at| at < confirmed);
        if overdue.resends_left == 0 || expired {
            tracing::warn!(outbox.row = %overdue.outbox, "a message was not acknowledged in time");
            let unacknowledged = Commit::Unacknowledged {
                outbox: overdue.outbox,
                at: now,
            };
            self.shared.store.commit(unacknowledged).await?;
            return Ok(());
        }
        let mut draft = overdue.draft;
        draft.origin = origin::of_resend(&draft.origin, overdue.resends_left);
        let span = tracing::info_span!("resend", outbox.row = %overdue.outbox);
        let resend = Submit {
            agent: self.id,
            commit: Commit::Resend {
                outbox: overdue.outbox,
                resends_left: overdue.resends_left,
                draft,
                prepared: None,
                at: now,
            },
            queueing: Queueing::Waits,
            seen_at: None,
            span: span.clone(),
        };
        if self.links.outbox.commit(resend).await?.result != CommitResult::Stale {
            self.shared.metrics.resent();
            span.in_scope(|| {
                tracing::info!("the message was not acknowledged in time; resending it");
            });
        }
        Ok(())
    }
}
