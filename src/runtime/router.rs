//! InboxRouter: the table of hosted addresses.
//!
//! The router examines each transaction that the watcher read (which wallet it concerns, whether
//! its sender signed it, whether it is one of our own), has it stored together with the position,
//! and wakes the agents that have work to do. It guarantees that nothing is dropped, and that an
//! agent with something due is awake: immediately as a rule, and within `LOOK_EVERY` even if a
//! wake-up is lost.
//!
//! A wake-up carries nothing; an agent pulls its messages from the store. So a backlog waits in the
//! store, and an agent that stops loses nothing. An agent stops when nothing is due and no wake-up
//! came since it began its last pull; a wake-up that comes while it stops starts it again.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use agentry_chain::{Batch, ChainEvent};
use agentry_core::commit::{Observation, Step};
use agentry_core::{AgentId, Commit, State};
use agentry_protocol::{BlockHeight, ChainId, Timestamp};
use agentry_store::StoreError;
use tokio::sync::Notify;

use super::Shared;
use super::agent::{Agent, AgentLinks};
use super::classify::classify;
use super::kill::{self, Point};
use super::registry::AgentRegistry;
use super::submitter::ChainNews;
use super::traces::SentOut;

/// How often the router looks for sleeping agents that have something due. Code that makes
/// something due wakes its agent; this covers a lost wake-up, and a machine that was suspended.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A reading of the watcher. Answered when it is stored.
#[derive(Debug)]
pub struct Route {
    /// The reading.
    pub batch: Batch,
    /// Whether the position must be stored although nothing of interest was read.
    pub store_position: bool,
}

impl Message for Route {
    type Result = Result<(), StoreError>;
}

/// Wake-ups of one agent, which it shares with the router. Several that the agent has not noticed
/// yet are one.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<Notify>);

impl Alarm {
    /// Whether a wake-up came since the last call.
    pub fn has_rung(&self) -> bool {
        // A permit that was stored is taken without waiting.
        pin!(self.0.notified()).enable()
    }

    fn ring(&self) {
        self.0.notify_one();
    }

    /// Whether the agent holds it, too: the agent has not ended.
    fn is_heard(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// An agent has no work, and has stopped.
#[derive(Debug)]
pub struct Idle {
    /// The row of the agent's wallet.
    pub agent: AgentId,
    /// When its next message is due, if one is waiting for its time.
    pub next_at: Option<Timestamp>,
}

impl Message for Idle {
    type Result = ();
}

/// Wakes these agents: each has something to do.
#[derive(Debug)]
pub struct WakeAgents(pub Vec<AgentId>);

impl Message for WakeAgents {
    type Result = ();
}

/// The rules of the chain that the router applies.
#[derive(Clone, Debug)]
pub struct ChainRules {
    /// The chain's id; a transaction of another chain is forged.
    pub id: ChainId,
    /// How many blocks below the head a message must be before it is handled.
    pub confirmations: u64,
    /// How many blocks below the head a mined transaction is final.
    pub final_depth: u64,
}

/// The actor; see the module documentation.
#[derive(Debug)]
pub struct InboxRouter {
    shared: Shared,
    agents: AgentLinks,
    submitter: Recipient<ChainNews>,
    rules: ChainRules,
    arbiters: Vec<ArbiterHandle>,
    next_arbiter: usize,
    awake: HashMap<AgentId, Alarm>,
    timers: HashMap<AgentId, SpawnHandle>,
}

impl InboxRouter {
    /// A router for these wallets, whose agents run on these arbiters. It tells the submitter what
    /// the chain shows.
    pub fn new(
        shared: Shared,
        agents: AgentLinks,
        submitter: Recipient<ChainNews>,
        rules: ChainRules,
        arbiters: Vec<ArbiterHandle>,
    ) -> Self {
        Self {
            shared,
            agents,
            submitter,
            rules,
            arbiters,
            next_arbiter: 0,
            awake: HashMap::new(),
            timers: HashMap::new(),
        }
    }

    fn wake(&mut self, id: AgentId, ctx: &mut Context<Self>) {
        // Agents with work are found once the chain is read up to the head seen at startup.
        if self.shared.is_stopping() || !self.shared.catch_up.is_done() {
            return;
        }
        if let Some(alarm) = self.awake.get(&id) {
            if alarm.is_heard() {
                return alarm.ring();
            }
            tracing::error!(agent.row = %id, "an agent's actor ended unexpectedly; starting another");
            self.awake.remove(&id);
        }
        if self.agents.registry.get(id).is_none() {
            return;
        }
        if let Some(timer) = self.timers.remove(&id) {
            ctx.cancel_future(timer);
        }
        let (shared, links) = (self.shared.clone(), self.agents.clone());
        let router = ctx.address().recipient();
        let Some(arbiter) = self
            .arbiters
            .get(self.next_arbiter % self.arbiters.len().max(1))
        else {
            return;
        };
        self.next_arbiter = self.next_arbiter.wrapping_add(1);
        let alarm = Alarm::default();
        self.awake.insert(id, alarm.clone());
        Agent::start_in_arbiter(arbiter, move |_| {
            Agent::new(shared, id, links, router, alarm)
        });
        self.shared.metrics.agents_awake(self.awake.len());
    }

    /// Wakes sleeping agents that have something due.
    fn wake_sleepers(&self, ctx: &mut Context<Self>) {
        let (store, now) = (self.shared.store.clone(), self.shared.clock.now());
        let find = async move { store.query(move |state| state.agents_due(now)).await };
        ctx.spawn(find.into_actor(self).map(|due, router, ctx| match due {
            Ok(due) => {
                for agent in due {
                    if !router.awake.get(&agent).is_some_and(Alarm::is_heard) {
                        router.wake(agent, ctx);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "cannot find agents with something due"),
        }));
    }

    /// Wakes the agents concerned by what was stored.
    fn stored(&mut self, routed: Routed, ctx: &mut Context<Self>) {
        self.shared
            .metrics
            .messages(routed.arrived, routed.repeated);
        if let Some(head) = routed.read_through {
            self.confirm(head, ctx);
        }
        for agent in routed.due {
            self.wake(agent, ctx);
        }
    }

    /// Sets the height up to which messages may be handled, and wakes the agents waiting for it.
    fn confirm(&mut self, head: BlockHeight, ctx: &mut Context<Self>) {
        let confirmed = head.saturating_sub(self.rules.confirmations);
        let before = self.shared.confirmed.get();
        self.shared.confirmed.set(confirmed);
        self.shared.metrics.height(head.0);
        if self.rules.confirmations == 0 || confirmed <= before {
            return;
        }
        self.wake_found(move |state| state.agents_waiting_at(before, confirmed), ctx);
    }

    /// Wakes the agents that a query finds.
    fn wake_found(
        &self,
        query: impl FnOnce(&State) -> Vec<AgentId> + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        let store = self.shared.store.clone();
        let find = async move { store.query(query).await };
        ctx.spawn(
            find.into_actor(self)
                .map(|agents, router, ctx| match agents {
                    Ok(agents) => {
                        for agent in agents {
                            router.wake(agent, ctx);
                        }
                    }
                    Err(error) => tracing::error!(%error, "cannot find agents with messages"),
                }),
        );
    }
}

impl Actor for InboxRouter {
    type Context = Context<Self>;

    /// Wakes the agents whose messages have waited since the last run, once agents may act.
    fn started(&mut self, ctx: &mut Self::Context) {
        let catch_up = self.shared.catch_up.clone();
        let caught_up = async move { catch_up.done().await };
        ctx.spawn(caught_up.into_actor(self).map(|(), router, ctx| {
            router.wake_found(|state| state.agents_due(Timestamp::MAX), ctx);
        }));
        ctx.run_interval(LOOK_EVERY, |router, ctx| router.wake_sleepers(ctx));
    }
}

impl Handler<Route> for InboxRouter {
    type Result = ResponseActFuture<Self, Result<(), StoreError>>;

    fn handle(&mut self, route: Route, _: &mut Self::Context) -> Self::Result {
        let shared = self.shared.clone();
        let registry = self.agents.registry.clone();
        let rules = self.rules.clone();
        let submitter = self.submitter.clone();
        let keys = self.agents.signer.keys.clone();
        let work = async move {
            let read_through = route.batch.read_through.as_ref().map(|head| head.height);
            let (mut halt, mut halted) = (None, None);
            for event in &route.batch.events {
                if let ChainEvent::Withdrawn { above, depth } = event {
                    tracing::warn!(
                        above.height = above.map(|height| height.0),
                        depth.blocks = depth,
                        "blocks were withdrawn"
                    );
                    shared.metrics.reorganisation(*depth);
                    if above.is_none() || *depth > rules.final_depth {
                        halt = Some(halt_reason(above.is_none(), *depth, rules.final_depth));
                    }
                }
            }
            if let Some(reason) = halt {
                shared
                    .store
                    .commit(Commit::Halt {
                        reason: reason.clone(),
                    })
                    .await?;
                halted = Some(reason);
            }
            let mut news = ChainNews {
                read_through,
                halted,
                ..ChainNews::default()
            };
            let mut routed = Routed {
                read_through,
                ..Routed::default()
            };
            if route.batch.events.is_empty() && !route.store_position {
                tell(&submitter, news).await;
                return Ok(routed);
            }
            news.withdrawn = route
                .batch
                .events
                .iter()
                .any(|e| matches!(e, ChainEvent::Withdrawn { .. }));
            let cursor = serde_json::to_value(&route.batch.cursor)
                .map_err(|error| StoreError::Value(format!("the position: {error}")))?;
            let chain = rules.id.clone();
            let mut own = own(&shared, &registry, &route.batch.events);
            let steps = classify(&shared, registry, chain, &keys, route.batch.events).await?;
            if steps.is_empty() && !route.store_position {
                // Self-sent transactions of strangers that are no cards do not justify a durable
                // write.
                tell(&submitter, news).await;
                return Ok(routed);
            }
            if steps
                .iter()
                .any(|step| matches!(step, Step::Sighting { .. }))
            {
                kill::pass(Point::BeforeMined);
            }
            let arrivals = steps.iter().any(|step| matches!(step, Step::Arrival(_)));
            let changes = shared
                .store
                .commit(Commit::Observe(Observation {
                    steps,
                    cursor,
                    final_through: read_through.and_then(|h| h.checked_sub(rules.final_depth)),
                    catching_up: shared.catch_up.mark(),
                    at: shared.clock.now(),
                }))
                .await?;
            if arrivals {
                kill::pass(Point::AfterInbox);
            }
            if changes.refused > 0 {
                shared.metrics.refused(changes.refused);
                tracing::warn!(
                    messages = changes.refused,
                    "messages were moved to the dead-letter queue without their contents: \
                     their senders have no more room (agentry queue list dead)"
                );
            }
            if !changes.cards.is_empty() {
                // Before agents are woken: their answers may need a key from one of these cards.
                shared
                    .directory
                    .refresh(&shared.store, &changes.cards)
                    .await?;
                shared.metrics.directory(shared.directory.len());
            }
            if !own.is_empty() {
                own.retain(|sent| changes.mined.iter().any(|(_, hash)| *hash == sent.hash));
                shared.traces.mined(&own);
            }
            news.mined = changes.mined;
            news.reopened = changes.reopened;
            news.recharged = changes.recharged;
            news.nonces = changes.nonces;
            // Before the next reading: notifications must not overtake each other.
            tell(&submitter, news).await;
            routed.due = changes.due;
            routed.arrived = changes.arrived;
            routed.repeated = changes.repeated;
            Ok(routed)
        };
        Box::pin(
            work.into_actor(self)
                .map(|stored: Result<_, StoreError>, router, ctx| {
                    router.stored(stored?, ctx);
                    Ok(())
                }),
        )
    }
}

/// The hosted wallets' transactions in a reading that are part of a trace, if traces are recorded.
fn own(shared: &Shared, registry: &AgentRegistry, events: &[ChainEvent]) -> Vec<SentOut> {
    if !shared.traces.is_on() {
        return Vec::new();
    }
    let transactions = events.iter().filter_map(|event| match event {
        ChainEvent::Transaction(transaction) => SentOut::of(transaction, registry),
        _ => None,
    });
    transactions.collect()
}

/// The result of storing a reading.
#[derive(Debug, Default)]
struct Routed {
    read_through: Option<BlockHeight>,
    due: Vec<AgentId>,
    arrived: usize,
    repeated: usize,
}

/// Tells the submitter and waits for its answer: it must not miss that a transaction was mined.
async fn tell(submitter: &Recipient<ChainNews>, news: ChainNews) {
    if submitter.send(news).await.is_err() {
        tracing::debug!("the submitter has ended; it reads the store when it restarts");
    }
}

fn halt_reason(reset: bool, depth: u64, final_depth: u64) -> String {
    if reset {
        "the chain was reset: it contains none of the blocks already read".to_owned()
    } else {
        format!("{depth} blocks were withdrawn, more than final_depth = {final_depth}")
    }
}

impl Handler<Idle> for InboxRouter {
    type Result = ();

    fn handle(&mut self, idle: Idle, ctx: &mut Self::Context) {
        let alarm = self.awake.remove(&idle.agent);
        self.shared.metrics.agents_awake(self.awake.len());
        if alarm.is_some_and(|alarm| alarm.has_rung()) {
            return self.wake(idle.agent, ctx);
        }
        if let Some(next_at) = idle.next_at {
            let pause = next_at.since(self.shared.clock.now());
            let pause = pause.max(Duration::from_millis(1));
            let id = idle.agent;
            let timer = ctx.run_later(pause, move |router, ctx| {
                router.timers.remove(&id);
                router.wake(id, ctx);
            });
            if let Some(older) = self.timers.insert(id, timer) {
                ctx.cancel_future(older);
            }
        }
    }
}

impl Handler<WakeAgents> for InboxRouter {
    type Result = ();

    fn handle(&mut self, WakeAgents(agents): WakeAgents, ctx: &mut Self::Context) {
        for agent in agents {
            self.wake(agent, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_are_kept_until_they_are_noticed() {
        let alarm = Alarm::default();
        let agent = alarm.clone();
        assert!(!agent.has_rung());
        alarm.ring();
        alarm.ring();
        assert!(agent.has_rung() && !agent.has_rung());
        alarm.ring();
        assert!(alarm.is_heard());
        drop(agent);
        assert!(!alarm.is_heard() && alarm.has_rung());
    }
}
