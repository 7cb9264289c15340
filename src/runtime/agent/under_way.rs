//! Outcomes on their way to the disk. Meanwhile the agent works on: what it does next builds on them,
//! and is void if one of them is not applied.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use agentry_core::commit::Outcome;
use agentry_core::rows::EventRef;
use agentry_core::{Changes, Commit};
use agentry_protocol::Timestamp;
use agentry_sdk::BehaviourError;
use agentry_store::StoreError;
use tracing::Instrument;

use super::Work;
use super::message::lane;
use super::settle::Subject;
use crate::runtime::Shared;
use crate::runtime::registry::Hosted;
use crate::runtime::submitter::{Queueing, Sequence, Submit};

/// How long a sender that has used up its room waits before it is checked again.
const ROOM_PAUSE: Duration = Duration::from_secs(5);

/// How many outcomes may be under way before the agent waits for them.
const MAX: usize = 64;

/// The outcomes on their way to the disk, in the order of their runs.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    sequence: Sequence,
    runs: VecDeque<(Run, JoinHandle<Result<Changes, StoreError>>)>,
    failed: Rc<Cell<bool>>,
}

impl UnderWay {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether there are so many that the agent has to wait, or one of them was not applied.
    pub(super) fn must_settle(&self) -> bool {
        self.runs.len() >= MAX || self.has_failed()
    }

    /// What they are the outcomes of. Forgets those that were applied.
    pub(super) fn events(&mut self) -> Vec<EventRef> {
        if !self.has_failed() {
            while self
                .runs
                .front()
                .is_some_and(|(_, stored)| stored.is_finished())
            {
                self.runs.pop_front();
            }
        }
        self.runs
            .iter()
            .map(|(run, _)| run.subject.event())
            .collect()
    }

    /// Whether one of them is known not to be applied.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }
}

/// A behaviour's run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) hosted: Arc<Hosted>,
    pub(super) subject: Subject,
    /// Empty if the run ended before any behaviour was called.
    pub(super) behaviour: String,
    /// The behaviours that watch the message.
    pub(super) watchers: Vec<String>,
    /// The next time of the schedule, if it is for a tick.
    pub(super) again_at: Option<Timestamp>,
}

impl Run {
    /// A run that nobody watches.
    pub(super) fn new(hosted: &Arc<Hosted>, subject: Subject, behaviour: &str) -> Self {
        Self {
            hosted: Arc::clone(hosted),
            subject,
            behaviour: behaviour.to_owned(),
            watchers: Vec::new(),
            again_at: None,
        }
    }
}

impl Run {
    /// Its outcome if it has no effects.
    pub(super) fn nothing(&self, at: Timestamp) -> Outcome {
        let (event, attempts) = (self.subject.event(), self.subject.attempts());
        Outcome {
            again_at: self.again_at,
            ..Outcome::nothing(event, attempts, at)
        }
    }
}

impl Work {
    /// Has an outcome stored behind those that are under way, and has sent what it sends.
    pub(super) fn store_behind(&mut self, run: Run, outcome: Outcome, span: &tracing::Span) {
        let (shared, outbox) = (self.shared.clone(), self.links.outbox.clone());
        let failed = Rc::clone(&self.under_way.failed);
        let is_handled = outcome.behaviour.is_some() && outcome.handled.is_some();
        let submit = Submit {
            agent: self.id,
            commit: Commit::Outcome(outcome),
            queueing: Queueing::Behind(self.under_way.sequence.link()),
            seen_at: run.subject.seen_at(),
            span: span.clone(),
        };
        let at_work = self.shared.in_hand.begin();
        let store = async move {
            let _at_work = at_work;
            let stored = outbox.commit(submit).await;
            match &stored {
                Ok(changes) if changes.is_applied() => applied(&shared, changes, is_handled),
                _ => failed.set(true),
            }
            stored
        };
        let stored = actix_rt::spawn(store.instrument(span.clone()));
        self.under_way.runs.push_back((run, stored));
    }

    /// Waits until the outcomes that are under way are on the disk. Returns whether all of them
    /// were applied; otherwise everything behind the first that was not is void.
    pub(super) async fn settled(&mut self) -> Result<bool, StoreError> {
        let mut first = None;
        for (run, stored) in std::mem::take(&mut self.under_way).runs {
            let stored = stored.await.unwrap_or(Err(StoreError::Closed));
            if first.is_none() && !stored.as_ref().is_ok_and(Changes::is_applied) {
                first = Some((run, stored));
            }
        }
        let Some((run, stored)) = first else {
            return Ok(true);
        };
        // They have what the outcomes were to change.
        (self.memory, self.next) = (None, None);
        match stored {
            Ok(_) => tracing::info!(
                "{} was withdrawn or completed meanwhile; the outcome of its run is discarded",
                run.subject.event()
            ),
            Err(StoreError::Full { reason }) => self.wait_for_room(run, reason).await?,
            Err(StoreError::TooMuch { reason }) => {
                let error = BehaviourError::permanent(reason);
                self.store_failure(&run, &error).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// There is no room for the outcome of a run: the event waits until there is, and so do the
    /// sender's other events. This is neither a failure nor an attempt.
    async fn wait_for_room(&mut self, run: Run, reason: String) -> Result<(), StoreError> {
        let until = self.shared.clock.now().plus(ROOM_PAUSE);
        let event = run.subject.event();
        if let Subject::Message(message) = &run.subject {
            self.pause(lane(message), until);
        }
        tracing::debug!(
            agent.name = run.hosted.config.name,
            reason,
            "{event} waits: there is no room for its effects"
        );
        let postpone = Commit::Postpone {
            event,
            until,
            reason: format!("waits for room: {reason}"),
        };
        self.shared.store.commit(postpone).await?;
        Ok(())
    }
}

/// Tells those whom an outcome concerns.
fn applied(shared: &Shared, changes: &Changes, is_handled: bool) {
    if changes.tasks {
        shared.pool.wake();
    }
    if !changes.canceled.is_empty() {
        shared.pool.cancel(&changes.canceled);
    }
    if is_handled {
        shared.metrics.message_handled(shared.clock.now());
    }
}
