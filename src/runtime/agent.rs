//! Agent: one wallet's conversation.
//!
//! Messages, timers, delivery updates of sent messages, and news of tasks are events of one queue.
//! An agent is an actor only while it has work. It pulls due events from the store, a few at a
//! time, with senders taking turns; runs each behaviour that accepts the event, in the configured
//! order; and has each outcome stored as one commit. It guarantees that an event takes effect once:
//! an outcome is stored together with the event's progress, so whatever was not stored is done
//! again, and whatever was stored is not.
//!
//! | part | what it does |
//! |---|---|
//! | `message` | a message: its expiry, its seal, the message that it answers, the behaviours that handle it |
//! | `event` | timers, delivery updates, settlements, news of tasks, renewals; overdue acknowledgments |
//! | `settle` | turning effects into drafts, and an outcome into one commit |
//! | `under_way` | outcomes on their way to the disk, behind which the agent works on |
//!
//! Behaviours are isolated from the arbiters ([`runner`](super::runner)). A failure is retried
//! with growing pauses; after the last attempt the event is moved to the dead-letter queue, with
//! the reason.

mod event;
mod message;
mod settle;
mod under_way;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use agentry_core::AgentId;
use agentry_core::rows::EventRef;
use agentry_core::state::due::{Due, Memory, Turn};
use agentry_protocol::{Address, Chain, EncryptionKey, PublicKey, Timestamp};
use agentry_sdk::State;
use agentry_store::{StoreError, read};
use tracing::Instrument;

use super::registry::{AgentRegistry, Hosted};
use super::router::{Alarm, Idle};
use super::signer::{OpenSealed, PublicKeys, SignError};
use super::submitter::Outbox;
use super::{Shared, reading};
use under_way::UnderWay;

/// How many events of each kind an agent pulls at a time.
const PULL: usize = 8;

/// The pause after the store refused something.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// The pause after checking many senders that have nothing due, before the others are checked.
const PASS_PAUSE: Duration = Duration::from_millis(50);

/// The requests that an agent makes of the signer, beside signatures.
#[derive(Clone, Debug)]
pub struct SignerLinks {
    /// The public keys of a wallet.
    pub keys: Recipient<PublicKeys>,
    /// The content of a sealed message.
    pub open: Recipient<OpenSealed>,
}

/// The actors and tables that an agent uses.
#[derive(Clone, Debug)]
pub struct AgentLinks {
    /// The hosted wallets and their configuration.
    pub registry: AgentRegistry,
    /// The chain.
    pub chain: Chain,
    /// The private keys.
    pub signer: SignerLinks,
    /// Stores what agents do, and sends what it says.
    pub outbox: Outbox,
}

/// The actor; see the module documentation.
#[derive(Debug)]
pub struct Agent(Option<Work>);

impl Agent {
    /// An agent for a hosted wallet. It starts to work immediately, and stops when idle.
    pub fn new(
        shared: Shared,
        id: AgentId,
        links: AgentLinks,
        router: Recipient<Idle>,
        alarm: Alarm,
    ) -> Self {
        Self(Some(Work {
            shared,
            id,
            links,
            router,
            alarm,
            turn: Turn::default(),
            next: None,
            paused: HashMap::new(),
            memory: None,
            under_way: UnderWay::default(),
            keys: None,
        }))
    }
}

impl Actor for Agent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(work) = self.0.take() {
            ctx.spawn(work.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
        }
    }
}

/// A query of what is due, of the state of the behaviours if that is not known, and of whose turn
/// it is then.
type Pull = JoinHandle<Result<(Due, Option<Memory>, Turn), StoreError>>;

#[derive(Debug)]
struct Work {
    shared: Shared,
    id: AgentId,
    links: AgentLinks,
    router: Recipient<Idle>,
    alarm: Alarm,
    /// The sender whose turn it is.
    turn: Turn,
    /// The next pull, if it has begun.
    next: Option<Pull>,
    /// Senders over their rate, and until when (`None`: all unverified senders).
    paused: HashMap<Option<Address>, Timestamp>,
    /// The state of the behaviours, once it was read, with the outcomes since: nothing else writes
    /// it.
    memory: Option<Memory>,
    /// The outcomes on their way to the disk.
    under_way: UnderWay,
    /// The wallet's public keys, once they were requested.
    keys: Option<(PublicKey, EncryptionKey)>,
}

impl Work {
    /// Works until there is nothing to do, and tells the router.
    async fn run(mut self) {
        let next_at = self.work().await;
        self.settle_all().await;
        let idle = Idle {
            agent: self.id,
            next_at,
        };
        if self.router.send(idle).await.is_err() {
            tracing::debug!("the router has ended; it reads the store when it restarts");
        }
    }

    /// Works until there is nothing to do. Returns when its next message is due, if one is waiting
    /// for its time.
    async fn work(&mut self) -> Option<Timestamp> {
        let mut runner: Option<Arc<Hosted>> = None;
        // Of the pass over all senders, which can take several pulls.
        let mut next_at = None;
        while !self.shared.is_stopping() {
            // Read each time: the configuration may have been reloaded.
            let hosted = self.links.registry.get(self.id)?;
            if runner
                .as_ref()
                .is_none_or(|held| !Arc::ptr_eq(held, &hosted))
            {
                // Other senders are over their rate now.
                self.paused.clear();
                self.next = None;
                runner = Some(Arc::clone(&hosted));
            }
            // Before the pull: what a wake-up is for may be due from senders already examined.
            if self.alarm.has_rung() {
                self.turn.start_over();
                self.next = None;
                next_at = None;
            }
            let next = match self.next.take() {
                Some(next) => next,
                None => self.begin_pull(&Due::default()),
            };
            let due = match self.end_pull(next).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(agent.name = hosted.config.name, %error, "cannot pull events");
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
            };
            if !due.is_empty() {
                let _at_work = self.shared.in_hand.begin();
                // There may be more: it is pulled meanwhile.
                if due.messages.len().max(due.events.len()) >= PULL / 2 {
                    self.next = Some(self.begin_pull(&due));
                }
                self.work_off(&hosted, due).await;
                if self.next.is_none() || self.under_way.must_settle() {
                    self.settle_all().await;
                }
                next_at = None;
                continue;
            }
            // What is under way may be due again.
            if !self.under_way.is_empty() {
                self.settle_all().await;
                continue;
            }
            next_at = due.next_at.into_iter().chain(next_at).min();
            if due.is_cut {
                tokio::time::sleep(PASS_PAUSE).await;
            } else if self.alarm.has_rung() {
                next_at = None;
            } else {
                let paused = self.paused.values().copied().min();
                return next_at.into_iter().chain(paused).min();
            }
        }
        None
    }

    /// Whether the pulled events are left for later: the process is asked to stop, or the agent's
    /// configuration has changed, or the agent is not hosted any more, or an outcome is void.
    fn is_over(&self, hosted: &Arc<Hosted>) -> bool {
        let stays = |now: Arc<Hosted>| Arc::ptr_eq(&now, hosted);
        self.shared.is_stopping()
            || self.under_way.has_failed()
            || self.memory.is_none()
            || !self.links.registry.get(self.id).is_some_and(stays)
    }

    /// Handles the pulled events, until it [is over](Self::is_over).
    async fn work_off(&mut self, hosted: &Arc<Hosted>, due: Due) {
        for event in due.events {
            if self.is_over(hosted) {
                return;
            }
            let (kind, name) = (event.row.kind.as_str(), &event.row.name);
            let span = tracing::info_span!("event", event.kind = kind, event.name = name);
            let handled = self
                .handle_event(hosted, &event, &span)
                .instrument(span.clone())
                .await;
            self.rest(handled).await;
        }
        for overdue in due.overdue {
            if self.is_over(hosted) {
                return;
            }
            let handled = self.handle_overdue(overdue).await;
            self.rest(handled).await;
        }
        for message in due.messages {
            if self.is_over(hosted) {
                return;
            }
            let message = match self.shared.store.report(read::due_message(&message)) {
                Ok(message) => Arc::new(message),
                Err(error) => {
                    self.rest(Err(error)).await;
                    continue;
                }
            };
            let from = message.stored.from.as_str();
            let span = reading::span(message.digest, from, message.hash);
            span.in_scope(|| tracing::trace!(agent.name = hosted.config.name, "pulled a message"));
            let handled = self
                .handle_message(hosted, &message, &span)
                .instrument(span.clone())
                .await;
            self.rest(handled).await;
        }
    }

    /// Waits until all outcomes are on the disk.
    async fn settle_all(&mut self) {
        let settled = self.settled().await;
        self.rest(settled.map(drop)).await;
    }

    /// Pauses for a moment after the store refused something.
    async fn rest(&self, handled: Result<(), StoreError>) {
        if let Err(error) = handled {
            let hosted = self.links.registry.get(self.id);
            let name = hosted.as_ref().map(|hosted| hosted.config.name.as_str());
            tracing::error!(agent.name = name, %error, "cannot store the outcome of an event");
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    /// Lets a sender wait. What was pulled before may have messages behind the one that waits now.
    fn pause(&mut self, lane: Option<Address>, until: Timestamp) {
        self.paused.insert(lane, until);
        self.next = None;
    }

    /// Begins to pull what is due, apart from what is at hand.
    fn begin_pull(&mut self, at_hand: &Due) -> Pull {
        let (agent, mut turn) = (self.id, self.turn.clone());
        let (now, through) = (self.shared.clock.now(), self.shared.confirmed.get());
        self.paused.retain(|_, until| *until > now);
        turn.paused = self.paused.keys().flatten().cloned().collect();
        turn.unverified_paused = self.paused.contains_key(&None);
        turn.doubted = self.shared.clock.confirmed()..self.shared.clock.local();
        let messages = at_hand
            .messages
            .iter()
            .map(|message| EventRef::Inbox(message.id));
        let events = at_hand
            .events
            .iter()
            .map(|event| EventRef::Event(event.row.id));
        turn.under_way = self.under_way.events();
        turn.under_way.extend(messages.chain(events));
        let is_known = self.memory.is_some();
        let query = move |state: &agentry_core::State| {
            let due = state.due(agent, now, through, &mut turn, PULL);
            let memory = (!is_known && !due.is_empty()).then(|| state.memory_of(agent));
            (due, memory, turn)
        };
        let store = self.shared.store.clone();
        actix_rt::spawn(async move { store.query(query).await })
    }

    async fn end_pull(&mut self, pull: Pull) -> Result<Due, StoreError> {
        let (due, memory, turn) = pull.await.unwrap_or(Err(StoreError::Closed))?;
        self.memory = memory.or(self.memory.take());
        self.turn = turn;
        Ok(due)
    }

    fn state(&self, behaviour: &str) -> State {
        let memory = self.memory.as_ref();
        let of_one = memory.and_then(|memory| memory.get(behaviour));
        State::new(of_one.cloned().unwrap_or_default())
    }

    /// The wallet's public keys.
    async fn keys(&mut self) -> Result<(PublicKey, EncryptionKey), SignError> {
        if let Some(keys) = self.keys {
            return Ok(keys);
        }
        let keys = PublicKeys::of(self.id, &self.links.signer.keys).await?;
        self.keys = Some(keys);
        Ok(keys)
    }
}
