//! The task that asks the coordinator: one for a process, whatever the number of its shards and agents.
//!
//! Agents take turns, the one that is due longest first. A turn keeps the agent alive, registering it if
//! the coordinator does not know it, and reads its inbox. Messages are marked as read between the turns.
//! All of it together stays within the requests that are configured: if agents are due faster than that,
//! each turn comes later, and a round takes two requests for each agent.
//!
//! A failure that is the coordinator's own (no connection, too many requests, no registry) pauses
//! everything; one that may have to do with a single agent pauses that agent's call alone, because
//! whoever writes to an agent can bring about that its inbox cannot be read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentry_protocol::{Address, ContentHash};
use backon::ExponentialBackoff;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::CoordinatorLinks;
use super::book::{AgentCall, Book};
use super::client::{CoordinatorCallError, CoordinatorClient};
use super::rate::RequestBucket;
use crate::config::coordinator::Capability;
use crate::config::{CoordinatorConfig, masked};
use crate::runtime::backoff;
use crate::runtime::registry::Hosted;

/// How often the hosted agents are looked at, which a reload changes.
const LOOK: Duration = Duration::from_secs(2);

/// The pauses after failures of the coordinator.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// The pauses after failures with one agent.
const AGENT_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// How many messages are marked as read in a minute: the coordinator takes 50 such requests.
const MARKS: u32 = 40;

/// How many wait for that. The others wait for the next look into their inbox.
const MARKS_WAITING: usize = 1_000;

/// What is due for an agent, and when.
struct NextCall {
    at: Instant,
    pauses: Option<ExponentialBackoff>,
}

impl NextCall {
    fn done(&mut self, every: Duration) {
        self.at = Instant::now() + every;
        self.pauses = None;
    }

    fn failed(&mut self) {
        self.at = Instant::now() + next(&mut self.pauses, AGENT_PAUSES);
    }
}

/// The next of the pauses after failures.
fn next(pauses: &mut Option<ExponentialBackoff>, bounds: (Duration, Duration)) -> Duration {
    let pauses = pauses.get_or_insert_with(|| backoff::between(bounds));
    pauses.next().unwrap_or(bounds.1)
}

/// An agent that is announced.
struct Announced {
    hosted: Arc<Hosted>,
    is_registered: bool,
    alive: NextCall,
    inbox: NextCall,
    /// The messages of the last look into the inbox, and whether each is marked as read, or cannot be.
    seen: HashMap<ContentHash, bool>,
}

impl Announced {
    fn new(hosted: Arc<Hosted>, now: Instant) -> Self {
        let due = || NextCall {
            at: now,
            pauses: None,
        };
        Self {
            hosted,
            is_registered: false,
            alive: due(),
            inbox: due(),
            seen: HashMap::new(),
        }
    }

    fn due_at(&self) -> Instant {
        self.alive.at.min(self.inbox.at)
    }

    fn due(&mut self, call: AgentCall) -> &mut NextCall {
        match call {
            AgentCall::Alive => &mut self.alive,
            AgentCall::Inbox => &mut self.inbox,
        }
    }
}

/// A message that is to be marked as read.
struct UnreadMessage {
    agent: Address,
    identity: ContentHash,
    id: String,
}

/// Why everything pauses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PauseCause {
    /// The coordinator cannot be asked for anything.
    Coordinator,
    /// It cannot take agents.
    Registry,
}

/// Waits until a time, or until shards come or go.
async fn rest<T>(until: Instant, shards: &mut watch::Receiver<T>) {
    // If nobody can tell of shards any more, the process ends.
    let _ = timeout_at(until, shards.changed()).await;
}

/// Asks the coordinator for the agents of this process.
pub(super) struct Announcer {
    config: CoordinatorConfig,
    links: CoordinatorLinks,
    calls: CoordinatorClient,
    book: Arc<Book>,
    requests: RequestBucket,
    marking: RequestBucket,
    agents: BTreeMap<Address, Announced>,
    marks: VecDeque<UnreadMessage>,
    look_at: Instant,
    resume_at: Instant,
    /// Why it pauses or, after the pause, why it is not known yet whether the coordinator works.
    cause: Option<PauseCause>,
    pauses: Option<ExponentialBackoff>,
    /// A call for an agent has failed, and that was told.
    is_failing: bool,
}

impl Announcer {
    pub(super) fn new(
        config: CoordinatorConfig,
        links: CoordinatorLinks,
        calls: CoordinatorClient,
        book: Arc<Book>,
    ) -> Self {
        let now = Instant::now();
        Self {
            requests: RequestBucket::per_minute(config.requests, now),
            marking: RequestBucket::per_minute(MARKS.min(config.requests), now),
            config,
            links,
            calls,
            book,
            agents: BTreeMap::new(),
            marks: VecDeque::new(),
            look_at: now,
            resume_at: now,
            cause: None,
            pauses: None,
            is_failing: false,
        }
    }

    /// Asks the coordinator until it is dropped.
    pub(super) async fn serve(mut self) {
        let mut shards = self.links.presence.watch();
        loop {
            let now = Instant::now();
            // If it cannot be known whether shards came or went, the process ends.
            if self.look_at <= now || shards.has_changed().unwrap_or(false) {
                shards.borrow_and_update();
                self.look(now);
            }
            if self.resume_at > now {
                rest(self.resume_at.min(self.look_at), &mut shards).await;
                continue;
            }
            let first = self.agents.iter().min_by_key(|(_, agent)| agent.due_at());
            let first = first.map(|(address, agent)| (address.clone(), agent.due_at()));
            match first {
                Some((address, at)) if at <= now => {
                    self.turn(&address).await;
                    // While agents are always due, messages have their turns, too.
                    if !self.is_paused() && self.marking.wait(Instant::now()).is_zero() {
                        self.mark().await;
                    }
                }
                first => {
                    let marking = self.marking.wait(now);
                    if !self.marks.is_empty() && marking.is_zero() {
                        self.mark().await;
                        continue;
                    }
                    let mut until = self.look_at;
                    if let Some((_, at)) = first {
                        until = until.min(at);
                    }
                    if !self.marks.is_empty() {
                        until = until.min(now + marking);
                    }
                    rest(until, &mut shards).await;
                }
            }
        }
    }

    fn is_paused(&self) -> bool {
        self.resume_at > Instant::now()
    }

    /// Sees which agents are hosted now.
    fn look(&mut self, now: Instant) {
        self.look_at = now + LOOK;
        let mut hosted = BTreeMap::new();
        for shard in self.links.presence.all().values() {
            let here = shard.running().map(|running| running.registry.all());
            for one in here.into_iter().flatten() {
                if self.config.announces(&one.config.name) {
                    hosted.insert(one.address.clone(), one);
                }
            }
        }
        let book = &self.book;
        self.agents.retain(|address, _| {
            let is_hosted = hosted.contains_key(address);
            if !is_hosted {
                book.leave(address);
            }
            is_hosted
        });
        let agents = &self.agents;
        self.marks.retain(|mark| agents.contains_key(&mark.agent));
        for (address, one) in hosted {
            book.enter(&address, &one.config.name);
            let agent = self.agents.entry(address.clone());
            let agent = agent.or_insert_with(|| Announced::new(Arc::clone(&one), now));
            if agent.hosted.public_key != one.public_key {
                // What is registered of it is not the case any more.
                agent.is_registered = false;
                agent.alive.at = now;
                book.registered(&address, None);
            }
            agent.hosted = one;
        }
        self.count_registered();
        self.tell_if_none_fails();
    }

    fn count_registered(&self) {
        self.links.metrics.coordinator_agents(self.book.count());
    }

    /// Does what is due for an agent.
    async fn turn(&mut self, address: &Address) {
        let now = Instant::now();
        let Some(agent) = self.agents.get(address) else {
            return;
        };
        let (alive, inbox) = (agent.alive.at <= now, agent.inbox.at <= now);
        if alive {
            self.keep_alive(address, agent.is_registered).await;
        }
        if inbox && !self.is_paused() {
            self.read(address).await;
        }
    }

    async fn keep_alive(&mut self, address: &Address, is_registered: bool) {
        if is_registered {
            self.requests.turn().await;
            let beaten = self.calls.heartbeat(address.as_str()).await;
            self.count_request("heartbeat", &beaten);
            match beaten {
                Ok(()) => {
                    self.book.beaten(address, self.links.clock.local());
                    return self.succeeded(address, AgentCall::Alive);
                }
                // It has forgotten the agent.
                Err(CoordinatorCallError::Unknown) => self.set_registered(address, false),
                Err(error) => return self.failed(address, AgentCall::Alive, &error),
            }
        }
        let Some(agent) = self.agents.get(address) else {
            return;
        };
        let announcement = self.announcement(&agent.hosted);
        self.requests.turn().await;
        let registered = self.calls.register(&announcement).await;
        self.count_request("register", &registered);
        match registered {
            Ok(()) => {
                self.set_registered(address, true);
                self.succeeded(address, AgentCall::Alive);
            }
            Err(error) => self.failed(address, AgentCall::Alive, &error),
        }
    }

    /// What is told of an agent: what is configured for that, and what is public on the chain.
    fn announcement(&self, hosted: &Hosted) -> Value {
        let chain = self.links.chain.as_str();
        let capabilities = self.config.capabilities.iter();
        let capabilities: Vec<&str> = capabilities.map(Capability::as_str).collect();
        json!({
            "agent_id": hosted.address.as_str(),
            "agent_type": self.config.agent_type.as_str(),
            "capabilities": capabilities,
            "services": [],
            "endpoints": {},
            "chain_id": chain,
            "metadata": {
                "runtime": "agentry",
                "chain_id": chain,
                "address": hosted.address.as_str(),
                "public_key": hosted.public_key.map(|key| key.to_string()),
            },
        })
    }

    fn set_registered(&mut self, address: &Address, is_registered: bool) {
        if let Some(agent) = self.agents.get_mut(address) {
            agent.is_registered = is_registered;
        }
        let at = is_registered.then(|| self.links.clock.local());
        self.book.registered(address, at);
        self.count_registered();
    }

    async fn read(&mut self, address: &Address) {
        self.requests.turn().await;
        let listing = self.calls.inbox(address.as_str()).await;
        self.count_request("inbox", &listing);
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => return self.failed(address, AgentCall::Inbox, &error),
        };
        let Some(agent) = self.agents.get_mut(address) else {
            return;
        };
        let before = std::mem::take(&mut agent.seen);
        self.marks.retain(|mark| mark.agent != *address);
        for message in &listing.messages {
            let earlier = before.get(&message.identity).copied();
            let is_done = message.is_read || earlier.unwrap_or(false);
            if agent.seen.insert(message.identity, is_done).is_some() || is_done {
                continue;
            }
            if let Some(id) = &message.id
                && self.marks.len() < MARKS_WAITING
            {
                self.marks.push_back(UnreadMessage {
                    agent: address.clone(),
                    identity: message.identity,
                    id: id.clone(),
                });
            }
        }
        let at = self.links.clock.local();
        let is_seen = |identity: &ContentHash| before.contains_key(identity);
        let unread = self
            .book
            .read(address, at, listing, |heard| is_seen(&heard.identity));
        self.links.metrics.coordinator_messages(unread);
        self.succeeded(address, AgentCall::Inbox);
    }

    /// Marks the next message as read, if one waits for that. What fails for a while waits for the next
    /// look into the inbox.
    async fn mark(&mut self) {
        let Some(mark) = self.marks.pop_front() else {
            return;
        };
        self.marking.turn().await;
        self.requests.turn().await;
        let marked = self.calls.mark_read(&mark.id).await;
        self.count_request("mark_read", &marked);
        match marked {
            Err(error) if error.is_general() => self.pause(PauseCause::Coordinator, &error),
            Err(error) if error.is_transient() => {}
            Ok(()) | Err(_) => {
                let agent = self.agents.get_mut(&mark.agent);
                if let Some(is_done) = agent.and_then(|agent| agent.seen.get_mut(&mark.identity)) {
                    *is_done = true;
                }
            }
        }
    }

    fn count_request<T>(&self, call: &'static str, result: &Result<T, CoordinatorCallError>) {
        let outcome = result
            .as_ref()
            .err()
            .map_or("ok", CoordinatorCallError::outcome);
        self.links.metrics.coordinator_request(call, outcome);
    }

    fn succeeded(&mut self, address: &Address, call: AgentCall) {
        let every = match call {
            AgentCall::Alive => self.config.heartbeat_every,
            AgentCall::Inbox => self.config.read_every,
        };
        if let Some(agent) = self.agents.get_mut(address) {
            agent.due(call).done(every);
        }
        // An inbox that can be read does not show that agents can be registered.
        if self.cause == Some(PauseCause::Coordinator) || call == AgentCall::Alive {
            self.cause = None;
            self.pauses = None;
            if self.book.trouble(None) {
                tracing::info!(
                    coordinator = masked(&self.config.url),
                    "the agent coordinator works again"
                );
            }
        }
        self.tell_if_none_fails();
    }

    fn tell_if_none_fails(&mut self) {
        if self.is_failing && !self.book.any_failed() {
            self.is_failing = false;
            tracing::info!(
                coordinator = masked(&self.config.url),
                "the agent coordinator takes the calls of every agent again"
            );
        }
    }

    fn failed(&mut self, address: &Address, call: AgentCall, error: &CoordinatorCallError) {
        let Some(agent) = self.agents.get_mut(address) else {
            return;
        };
        if error.is_general() || (call == AgentCall::Alive && error.is_transient()) {
            // The others come first when it goes on.
            let now = Instant::now();
            agent.due(call).at = now;
            agent.inbox.at = agent.inbox.at.max(now);
            let cause = match error.is_general() {
                true => PauseCause::Coordinator,
                false => PauseCause::Registry,
            };
            return self.pause(cause, error);
        }
        agent.due(call).failed();
        let name = agent.hosted.config.name.clone();
        self.book.failed(address, call, error.to_string());
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                coordinator = masked(&self.config.url),
                agent = name,
                %error,
                "the agent coordinator cannot be used for an agent; it is tried again, and \
                 `agentry coordinator status` shows every agent"
            );
        }
    }

    /// Asks nothing for a while.
    fn pause(&mut self, cause: PauseCause, error: &CoordinatorCallError) {
        let pause = match error {
            CoordinatorCallError::Busy(pause) => *pause,
            _ => next(&mut self.pauses, PAUSES),
        };
        self.resume_at = Instant::now() + pause;
        self.cause = Some(cause);
        if self.book.trouble(Some(error.to_string())) {
            tracing::warn!(
                coordinator = masked(&self.config.url),
                %error,
                "the agent coordinator cannot be used; it is tried again, and everything else goes on"
            );
        }
    }
}
