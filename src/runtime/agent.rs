//! Agent: one wallet's conversation.
//!
//! An agent is an actor only while there is something to do. It pulls its due messages from the
//! store, a few at a time, senders in turn; runs each behaviour that accepts the message, in the
//! configured order; and has each outcome stored as one commit. It promises that a message is
//! acted on once: an outcome is stored together with the message's progress, so whatever was not
//! stored is done again, and what was stored is not.
//!
//! Behaviours run apart from the arbiters ([`conduct`](super::conduct)). A failure is retried with growing pauses; after the last attempt the message is a dead
//! letter, with the reason.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use agentry_sdk::{BehaviourError, Effect, Effects, State};
use tracing::Instrument;

use super::Shared;
use super::conduct::Conduct;
use super::kill::{self, Point};
use super::roster::Hosted;
use super::router::{Idle, Leave, SubmitterLinks};
use super::submitter::{Allot, Stored};
use crate::config::BehaviourInstance;
use crate::store::commit::Outcome;
use crate::store::read::Memory;
use crate::store::rows::{Draft, DueMessage, Prepared};
use crate::store::{Commit, StoreError, read};

/// How many messages an agent pulls at a time.
const PULL: usize = 8;

/// The pause after a first failed attempt; it doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(500);

/// The longest pause between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// The pause after the store refused something.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// There is, or may be, something to do.
#[derive(Debug)]
pub struct Wake;

impl Message for Wake {
    type Result = ();
}

/// The actor.
#[derive(Debug)]
pub struct Agent {
    work: Option<Work>,
    wakes: Rc<Cell<u64>>,
}

impl Agent {
    /// An agent for a hosted wallet. It starts to work at once, and leaves when idle.
    pub fn new(
        shared: Shared,
        hosted: Arc<Hosted>,
        router: Recipient<Idle>,
        submitter: SubmitterLinks,
    ) -> Self {
        let wakes = Rc::new(Cell::new(0));
        let work = Work {
            shared,
            hosted,
            router,
            submitter,
            wakes: Rc::clone(&wakes),
            last: None,
            memory: Memory::new(),
        };
        Self {
            work: Some(work),
            wakes,
        }
    }
}

impl Actor for Agent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(work) = self.work.take() {
            ctx.spawn(work.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
        }
    }
}

impl Handler<Wake> for Agent {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.wakes.set(self.wakes.get() + 1);
    }
}

#[derive(Debug)]
struct Work {
    shared: Shared,
    hosted: Arc<Hosted>,
    router: Recipient<Idle>,
    submitter: SubmitterLinks,
    wakes: Rc<Cell<u64>>,
    /// The sender who had the last turn.
    last: Option<String>,
    /// What the behaviours remember, as of the last pull and the outcomes since: nobody else
    /// writes it.
    memory: Memory,
}

impl Work {
    async fn run(mut self) {
        while !self.shared.is_stopping() {
            let wakes = self.wakes.get();
            let due = match self.pull().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(agent.name = self.hosted.config.name, %error, "pulling messages");
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
            };
            if due.messages.is_empty() {
                let idle = Idle {
                    agent: self.hosted.id,
                    wakes,
                    next_at: due.next_at,
                };
                match self.router.send(idle).await {
                    Ok(Leave::LookAgain) => continue,
                    Ok(Leave::Granted) | Err(_) => return,
                }
            }
            let _at_work = self.shared.in_hand.begin();
            for message in due.messages {
                if self.shared.is_stopping() {
                    return;
                }
                self.last = Some(message.stored.from.as_str().to_owned());
                let span = self.shared.spans.take(message.digest).unwrap_or_else(|| {
                    tracing::info_span!("message", message.digest = %message.digest, message.from = %message.stored.from)
                });
                span.in_scope(|| tracing::trace!(agent.name = self.hosted.config.name, "pulled"));
                if let Err(error) = self.handle(&message, &span).instrument(span.clone()).await {
                    tracing::error!(agent.name = self.hosted.config.name, %error, "storing what came of a message");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    async fn pull(&mut self) -> Result<read::Due, StoreError> {
        let (agent, last) = (self.hosted.id, self.last.clone());
        let (now, through) = (self.shared.clock.now_ms(), self.shared.confirmed.get());
        let (due, memory) = self
            .shared
            .store
            .read(move |db| {
                let due = read::due(db, agent, now, through, last.as_deref(), PULL)?;
                let memory = if due.messages.is_empty() {
                    Memory::new()
                } else {
                    read::memory(db, agent)?
                };
                Ok((due, memory))
            })
            .await?;
        self.memory = memory;
        Ok(due)
    }

    fn state(&self, behaviour: &str) -> State {
        State::new(self.memory.get(behaviour).cloned().unwrap_or_default())
    }

    /// Shows a message to every behaviour that is to see it.
    async fn handle(&mut self, due: &DueMessage, span: &tracing::Span) -> Result<(), StoreError> {
        let (shared, hosted) = (self.shared.clone(), Arc::clone(&self.hosted));
        let conduct = Conduct::new(&shared, &hosted);
        let (message, accepting) = match conduct.show(due).await {
            Ok(shown) => shown,
            Err((instance, error)) => return self.fail(due, instance, &error).await,
        };
        let mut left = accepting.into_iter().peekable();
        if left.peek().is_none() {
            let outcome = Outcome {
                message: due.id,
                attempts: due.attempts,
                behaviour: None,
                sends: Vec::new(),
                state: Vec::new(),
                handled: true,
                at: self.shared.clock.now_ms(),
            };
            self.shared.store.commit(Commit::Outcome(outcome)).await?;
            return Ok(());
        }
        while let Some(instance) = left.next() {
            let handled = left.peek().is_none();
            let state = self.state(&instance.name);
            match conduct.run(instance, &message, due.attempts, state).await {
                Ok(effects) => {
                    if !self.settle(due, instance, effects, handled, span).await? {
                        return Ok(());
                    }
                }
                Err(error) => return self.fail(due, instance, &error).await,
            }
        }
        Ok(())
    }

    /// Stores an outcome; with it the signed replies, where nonces were free. Returns whether the
    /// message is still this agent's to go on with.
    async fn settle(
        &mut self,
        due: &DueMessage,
        instance: &BehaviourInstance,
        effects: Effects,
        handled: bool,
        span: &tracing::Span,
    ) -> Result<bool, StoreError> {
        let mut drafts = Vec::new();
        let mut state = Vec::new();
        for (index, effect) in effects.into_iter().enumerate() {
            let (recipient, payload, amount) = match effect {
                Effect::Reply { payload } => (due.stored.from.clone(), payload, 0),
                Effect::Send {
                    to,
                    payload,
                    amount,
                } => (to, payload, amount),
                Effect::SetState { key, value } => {
                    state.push((key, Some(value)));
                    continue;
                }
                Effect::ClearState { key } => {
                    state.push((key, None));
                    continue;
                }
            };
            drafts.push(Draft {
                origin: format!("inbox/{}/{}/{index}", due.id, instance.name),
                recipient,
                amount,
                fee: self.hosted.config.fee,
                payload,
            });
        }
        let sends: Vec<(Draft, Option<Prepared>)> = if drafts.is_empty() {
            Vec::new()
        } else {
            let count = drafts.len();
            let allot = Allot {
                agent: self.hosted.id,
                drafts: drafts.clone(),
            };
            let prepared = match self.submitter.allot.send(allot).await {
                Ok(prepared) if prepared.len() == count => prepared,
                // Without a nonce they are queued, and the submitter finds them there.
                Ok(_) | Err(_) => vec![None; count],
            };
            drafts.into_iter().zip(prepared).collect()
        };
        let (bodies, costs): (Vec<Option<Prepared>>, Vec<u64>) = sends
            .iter()
            .map(|(draft, prepared)| (prepared.clone(), draft.cost()))
            .unzip();
        kill::pass(Point::BeforeCommit);
        let outcome = Outcome {
            message: due.id,
            attempts: due.attempts,
            behaviour: Some(instance.name.clone()),
            sends,
            state: state.clone(),
            handled,
            at: self.shared.clock.now_ms(),
        };
        let committed = self.shared.store.commit(Commit::Outcome(outcome)).await;
        kill::pass(Point::AfterCommit);
        let stale = committed.as_ref().is_ok_and(|receipt| receipt.stale);
        if !bodies.is_empty() {
            let rows = committed
                .as_ref()
                .map(|receipt| receipt.sends.clone())
                .unwrap_or_default();
            let stored = Stored {
                agent: self.hosted.id,
                rows,
                bodies,
                costs,
                span: span.clone(),
            };
            // A request: the submitter must learn that allotted nonces are in use, or free again.
            if self.submitter.stored.send(stored).await.is_err() {
                tracing::debug!("the submitter has ended; it reads the store when it is back");
            }
        }
        committed?;
        if stale {
            tracing::info!("the message was withdrawn or settled meanwhile; this outcome is void");
            return Ok(false);
        }
        let memory = self.memory.entry(instance.name.clone()).or_default();
        for (key, value) in state {
            match value {
                Some(value) => memory.insert(key, value),
                None => memory.remove(&key),
            };
        }
        if handled {
            self.shared
                .metrics
                .message_handled(self.shared.clock.now_ms());
        }
        Ok(true)
    }

    async fn fail(
        &self,
        due: &DueMessage,
        instance: &BehaviourInstance,
        error: &BehaviourError,
    ) -> Result<(), StoreError> {
        let now = self.shared.clock.now_ms();
        let attempt = due.attempts.saturating_add(1);
        let again = error.is_transient() && attempt < self.hosted.config.attempts;
        let retry_at = again.then(|| {
            let pause = backoff(due.attempts);
            now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
        });
        if again {
            tracing::warn!(
                agent.name = self.hosted.config.name,
                behaviour.name = instance.name,
                attempt,
                %error,
                "a behaviour failed; it is tried again"
            );
        } else {
            self.shared.metrics.dead_letter();
            tracing::error!(
                agent.name = self.hosted.config.name,
                behaviour.name = instance.name,
                attempt,
                %error,
                "a behaviour failed for good; the message is a dead letter (agentry queue show inbox/{})",
                due.id
            );
        }
        self.shared
            .store
            .commit(Commit::Failure {
                message: due.id,
                attempts: due.attempts,
                reason: format!("{}: {error}", instance.name),
                retry_at,
                at: now,
            })
            .await?;
        Ok(())
    }
}

fn backoff(failed_before: u32) -> Duration {
    MIN_BACKOFF
        .saturating_mul(1_u32.checked_shl(failed_before.min(16)).unwrap_or(u32::MAX))
        .min(MAX_BACKOFF)
}
