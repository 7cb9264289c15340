//! A behaviour's run: its outcome is applied to the state, and what it sends goes to the ledger only.

use std::sync::Arc;

use agentry_core::Commit;
use agentry_core::commit::{Handled, Outcome};
use agentry_core::rows::{EventKind, EventRef};
use agentry_protocol::{Number, Seed, Trail};
use agentry_sdk::durable::{Sending, least_pause};
use agentry_sdk::{BehaviourError, Effects, Event, Message, State};
use agentry_store::StoreError;

use super::ReplayError;
use super::engine::Engine;
use super::ledger::{ReportId, Send};
use super::report::{Cause, Would};
use super::said::{ComparedMessage, truncated};
use crate::config::BehaviourInstance;
use crate::runtime::compose::{self, Author, Circumstances};
use crate::runtime::registry::Hosted;
use crate::runtime::runner::Runner;

/// What behaviours run for.
pub(super) struct Subject<'a> {
    pub(super) hosted: &'a Arc<Hosted>,
    pub(super) event: EventRef,
    /// The kind of the event; `None` for a message.
    pub(super) kind: Option<EventKind>,
    pub(super) attempts: u32,
    /// What the messages of a run carry on.
    pub(super) trail: Trail,
    /// The message that it is, or is about.
    pub(super) message: Option<&'a Message>,
    /// The behaviours that are told if the message becomes a dead letter.
    pub(super) watchers: &'a [String],
    pub(super) place: ReportPlace,
}

/// The report of what a run would do.
#[derive(Clone)]
pub(super) enum ReportPlace {
    /// This one.
    Open(ReportId),
    /// A new one with this cause, if there is something to report.
    New(Cause),
}

/// What a run would do, apart from its outcome.
#[derive(Default)]
struct Act {
    sends: Vec<Send>,
    notes: Vec<String>,
    tasks: u64,
}

impl Engine {
    /// Runs a behaviour. A failure is retried at once, as many times as in the runtime. `handled` is
    /// set if no other behaviour is to see the message. Returns whether the run succeeded.
    pub(super) async fn run(
        &mut self,
        subject: &Subject<'_>,
        instance: &BehaviourInstance,
        event: Event,
        handled: Option<Handled>,
    ) -> Result<bool, ReplayError> {
        let (agent, name) = (subject.hosted.id, &instance.name);
        let memory = self
            .state
            .query(|state| state.memory_of(agent))?
            .remove(name);
        let memory = State::new(memory.unwrap_or_default());
        let runner = Runner::on(self.stage.clone(), subject.hosted);
        let ran = runner.run(instance, event, subject.attempts, memory).await;
        let mut outcome = Outcome {
            behaviour: Some(name.clone()),
            handled,
            trail: subject.trail,
            ..Outcome::nothing(subject.event, subject.attempts, self.now())
        };
        let acted = ran.and_then(|effects| self.act(subject, name, effects, &mut outcome));
        if let (Ok(act), EventRef::Inbox(id)) = (&acted, subject.event)
            && let Some(waiting) = self.waiting.get_mut(&id)
        {
            waiting.has_tasks |= act.tasks > 0;
            if let (true, Some(handled)) = (waiting.has_tasks, &mut outcome.handled) {
                handled.watchers.clear();
            }
        }
        let applied = match acted {
            Ok(act) => match self.state.apply(&Commit::Outcome(outcome)) {
                Ok(_) => Ok(act),
                Err(StoreError::Full { reason } | StoreError::TooMuch { reason }) => {
                    Err(BehaviourError::permanent(reason))
                }
                Err(error) => return Err(error.into()),
            },
            Err(error) => Err(error),
        };
        match applied {
            Ok(act) => {
                self.record(subject, act);
                Ok(true)
            }
            Err(error) => {
                self.fail(subject, instance, &error)?;
                Ok(false)
            }
        }
    }

    /// The report of what is done for a subject.
    fn report(&mut self, subject: &Subject<'_>) -> ReportId {
        match &subject.place {
            ReportPlace::Open(report) => *report,
            ReportPlace::New(cause) => {
                let (agent, name) = (subject.hosted.id, &subject.hosted.config.name);
                self.ledger.begin(agent, name, cause.clone(), false)
            }
        }
    }

    /// Reports what a run would do, if anything.
    fn record(&mut self, subject: &Subject<'_>, act: Act) {
        if act.sends.is_empty() && act.notes.is_empty() {
            return;
        }
        let report = self.report(subject);
        if act.tasks > 0 {
            self.summary.tasks += act.tasks;
            self.ledger.mark_incomplete(report);
        }
        for note in act.notes {
            self.ledger.note(report, note);
        }
        for send in act.sends {
            self.ledger.would(report, send);
        }
    }

    /// A run failed: it is tried again at once, or never again.
    pub(super) fn fail(
        &mut self,
        subject: &Subject<'_>,
        instance: &BehaviourInstance,
        error: &BehaviourError,
    ) -> Result<(), ReplayError> {
        let (at, attempts) = (self.now(), subject.attempts);
        let most = subject.hosted.config.common.attempts;
        let again = error.is_transient() && attempts.saturating_add(1) < most;
        let reason = format!("{}: {error}", instance.name);
        if !again {
            let report = self.report(subject);
            self.ledger
                .note(report, format!("would fail permanently: {reason}"));
        }
        self.state.apply(&Commit::Failure {
            event: subject.event,
            attempts,
            reason,
            public: error.public().to_owned(),
            retry_at: again.then_some(at),
            again_at: None,
            watchers: subject.watchers.to_vec(),
            at,
        })?;
        Ok(())
    }

    /// Adds the effects of a run to its outcome, except for messages and tasks. If one message cannot
    /// be composed, none of the effects happens.
    fn act(
        &self,
        subject: &Subject<'_>,
        behaviour: &str,
        effects: Effects,
        outcome: &mut Outcome,
    ) -> Result<Act, BehaviourError> {
        let mut act = Act::default();
        for sending in effects.record(outcome, least_pause(subject.kind)) {
            act.sends.push(self.send(subject, behaviour, sending)?);
        }
        for task in outcome.tasks.drain(..) {
            act.tasks += 1;
            let (kind, key) = (truncated(&task.kind), truncated(&task.key));
            act.notes
                .push(format!("would start task {key} of type {kind}"));
        }
        for key in outcome.cancels.drain(..) {
            act.notes
                .push(format!("would cancel task {}", truncated(&key)));
        }
        if let Some(reason) = &outcome.rejected {
            act.notes
                .push(format!("would reject it: {}", truncated(reason)));
        }
        Ok(act)
    }

    /// A message as the runtime would compose it.
    fn send(
        &self,
        subject: &Subject<'_>,
        behaviour: &str,
        sending: Sending,
    ) -> Result<Send, BehaviourError> {
        let (hosted, outgoing) = (subject.hosted, sending.outgoing);
        let (to, answers) = match (sending.to, subject.message) {
            (Some(to), _) => (to, None),
            (None, Some(message)) => (message.from.clone(), Some(message)),
            (None, None) => {
                return Err(BehaviourError::permanent(
                    "the behaviour replies, but the event is not about a message",
                ));
            }
        };
        let now = self.now();
        // The key in the header is not compared, so any key will do if the wallet's is unknown.
        let public_key = hosted
            .public_key
            .unwrap_or_else(|| Seed::from_bytes([1; 32]).public_key());
        let draft = compose::compose(
            &outgoing,
            Author::hosted(hosted, public_key, Some(behaviour)),
            Circumstances {
                origin: "replay",
                to: &to,
                answers,
                trail: subject.trail,
                recipient_key: self.directory.enc_key_of(&to, now),
                chain: &self.chain,
                now,
                plain: false,
            },
        )?;
        let (said, re) = ComparedMessage::of(&to, &Number::from(draft.amount), &draft.payload);
        Ok(Send {
            would: Would {
                behaviour: behaviour.to_owned(),
                said: said.with_text(&outgoing.payload),
            },
            re,
            receipt: draft.receipt,
        })
    }
}
