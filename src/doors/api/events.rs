//! Server-sent events: what happens to the agents of a caller.
//!
//! The last events are kept once, for all clients. A client that is slower than what happens, or that
//! comes back later than the events are kept, is told that it has missed some; nothing is kept for it.
//!
//! The events of a host of a cluster are those of all shards that run here or are followed. While a
//! client listens, the shards of its agents are kept here. If one of them was away for a moment, as when
//! it is handed over, its clients are told that they may have missed something.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use agentry_core::cluster::ShardId;
use agentry_core::rows::{InboxState, OutboxState};
use agentry_core::{AgentId, State};
use agentry_store::{RowChange, StoreError};
use futures_util::future::join_all;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;

use super::super::caller::{Caller, Scope};
use super::super::error::{DoorError, ErrorCode};
use super::connections::Connection;
use super::{Api, Visitor, answer};
use crate::ops::send::random_key;
use crate::runtime::presence::{Presence, Present};

/// How many events are kept.
const KEPT: usize = 4_096;

/// How many events are written to a client at a time.
const BATCH: usize = 64;

/// How often a client hears something: then the caller's rights are checked again, too.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a new stream waits until the shards of its agents are here. Who listens to one that comes
/// later is told that events were missed.
const COMPLETE: Duration = Duration::from_secs(5);

/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// The data of an event. `id` is that of the operations.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventData {
    /// The stream begins, or goes on after the last event that the client has seen.
    Ready {},
    /// Events were lost: read what you need again.
    Missed {
        /// How many; null if that is not known.
        events: Option<u64>,
    },
    /// A message to an agent is new, or its state has changed.
    Message {
        /// Its id, such as `inbox/12`.
        id: String,
        /// The agent's name.
        agent: String,
        /// The sender.
        from: String,
        /// Whether the sender is verified.
        authenticity: String,
        /// The transaction that carried it.
        transaction: String,
        /// The transaction that it answers.
        re: Option<String>,
        /// The conversation that it belongs to.
        thread: Option<String>,
        /// Its state: `waiting`, `withdrawn`, `handled`, `expired` or `dead`.
        state: String,
        /// Whether it is new.
        new: bool,
    },
    /// A transaction of an agent is new, or its state has changed.
    Delivery {
        /// Its id, such as `outbox/7`.
        id: String,
        /// The agent's name.
        agent: String,
        /// The recipient.
        to: String,
        /// Its hash, once it is signed.
        transaction: Option<String>,
        /// The id of the message that it carries again.
        resend_of: Option<String>,
        /// Its state: `queued`, `prepared`, `accepted`, `mined`, `final` or `failed`.
        state: String,
        /// Why it waits or failed.
        reason: Option<String>,
    },
    /// The acknowledgment of a message of an agent came, or is overdue.
    Receipt {
        /// The message, such as `outbox/7`.
        id: String,
        /// The agent's name.
        agent: String,
        /// What is known.
        state: String,
        /// The recipient's explanation.
        detail: Option<String>,
    },
    /// A task that an agent does for others is new, has progressed, or its state has changed.
    Task {
        /// Its id, such as `task/3`.
        id: String,
        /// The agent's name.
        agent: String,
        /// Its type.
        #[serde(rename = "type")]
        kind: String,
        /// Who requested it.
        submitter: Option<String>,
        /// Its state.
        state: String,
        /// Its progress, from 0 to 1.
        progress: Option<f64>,
        /// Why it failed.
        error: Option<String>,
    },
    /// A message or an event could not be handled, or a transaction could not be sent.
    DeadLetter {
        /// Its id, such as `inbox/12`, `outbox/7` or `event/3`.
        id: String,
        /// The agent's name.
        agent: String,
        /// Why.
        reason: Option<String>,
    },
}

impl EventData {
    const fn name(&self) -> &'static str {
        match self {
            Self::Ready {} => "ready",
            Self::Missed { .. } => "missed",
            Self::Message { .. } => "message",
            Self::Delivery { .. } => "delivery",
            Self::Receipt { .. } => "receipt",
            Self::Task { .. } => "task",
            Self::DeadLetter { .. } => "dead_letter",
        }
    }

    /// The event as it is written, without its id.
    fn written(&self) -> String {
        let data = serde_json::to_string(self).unwrap_or_default();
        format!("event: {}\ndata: {data}\n\n", self.name())
    }
}

/// The events of what a changed row means, for an agent with this name.
fn of_row(change: &RowChange, agent: &str) -> Vec<EventData> {
    let agent = agent.to_owned();
    let dead = |id: &str, reason: &Option<String>| EventData::DeadLetter {
        id: id.to_owned(),
        agent: agent.clone(),
        reason: reason.clone(),
    };
    let mut events = Vec::new();
    match change {
        RowChange::Message {
            id,
            from,
            authenticity,
            transaction,
            re,
            thread,
            state,
            is_new,
            reason,
            ..
        } => {
            let id = format!("inbox/{id}");
            events.extend((*state == InboxState::Dead).then(|| dead(&id, reason)));
            let message = EventData::Message {
                id,
                agent: agent.clone(),
                from: from.to_string(),
                authenticity: authenticity.as_str().to_owned(),
                transaction: transaction.to_string(),
                re: re.map(|re| re.to_string()),
                thread: thread.clone(),
                state: state.as_str().to_owned(),
                new: *is_new,
            };
            events.insert(0, message);
        }
        RowChange::Transaction {
            id,
            to,
            transaction,
            resend_of,
            state,
            reason,
            ..
        } => {
            let id = format!("outbox/{id}");
            events.extend((*state == OutboxState::Failed).then(|| dead(&id, reason)));
            let delivery = EventData::Delivery {
                id,
                agent: agent.clone(),
                to: to.to_string(),
                transaction: transaction.map(|hash| hash.to_string()),
                resend_of: resend_of.map(|row| format!("outbox/{row}")),
                state: state.as_str().to_owned(),
                reason: reason.clone(),
            };
            events.insert(0, delivery);
        }
        RowChange::Receipt {
            outbox,
            state,
            detail,
            ..
        } => events.push(EventData::Receipt {
            id: format!("outbox/{outbox}"),
            agent,
            state: state.as_str().to_owned(),
            detail: detail.clone(),
        }),
        RowChange::Task {
            id,
            kind,
            submitter,
            state,
            progress,
            error,
            ..
        } => events.push(EventData::Task {
            id: format!("task/{id}"),
            agent,
            kind: kind.clone(),
            submitter: submitter.as_ref().map(ToString::to_string),
            state: state.as_str().to_owned(),
            progress: *progress,
            error: error.clone(),
        }),
        RowChange::DeadEvent { id, reason, .. } => {
            events.push(dead(&format!("event/{id}"), reason));
        }
    }
    events
}

pub(in crate::doors) const fn agent_of(change: &RowChange) -> AgentId {
    match change {
        RowChange::Message { agent, .. }
        | RowChange::Transaction { agent, .. }
        | RowChange::Receipt { agent, .. }
        | RowChange::Task { agent, .. }
        | RowChange::DeadEvent { agent, .. } => *agent,
    }
}

/// Whom an event concerns.
#[derive(Debug, PartialEq, Eq)]
enum Concerns {
    /// The agent at an address.
    Agent(String),
    /// All agents of a shard.
    Shard(ShardId),
}

impl Concerns {
    /// Whether it concerns an agent that a caller may use.
    fn is_seen_by(&self, caller: &Caller, presence: &Presence) -> bool {
        match (self, &caller.agents) {
            (Self::Agent(agent), _) => caller.sees(agent),
            (Self::Shard(_), Scope::All) => true,
            (Self::Shard(shard), Scope::Only(agents)) => agents
                .iter()
                .any(|agent| presence.shard_of(agent) == *shard),
        }
    }
}

/// A kept event.
#[derive(Debug)]
struct Kept {
    concerns: Concerns,
    /// As it is written, without its id.
    text: String,
}

/// The last events, in order.
#[derive(Debug)]
struct Ring {
    /// A word that distinguishes these events from those of another run.
    epoch: String,
    events: VecDeque<Arc<Kept>>,
    /// The number of the first that is kept.
    first: u64,
    most: usize,
}

impl Ring {
    fn new(most: usize) -> Self {
        let epoch = random_key().unwrap_or_default();
        Self {
            epoch: epoch.get(..8).unwrap_or_default().to_owned(),
            events: VecDeque::new(),
            first: 1,
            most,
        }
    }

    /// The number of the next event.
    fn next(&self) -> u64 {
        self.first.saturating_add(self.events.len() as u64)
    }

    fn push(&mut self, event: Kept) {
        if self.events.len() == self.most {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(Arc::new(event));
    }

    /// Forgets all events, because some were lost after them.
    fn lose(&mut self, events: u64) {
        self.first = self.next().saturating_add(events.max(1));
        self.events.clear();
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    /// Where a client goes on that has seen an event, or begins.
    fn resume(&self, last_seen: Option<&str>) -> Resume {
        let Some(last_seen) = last_seen else {
            return Resume::At(self.next());
        };
        let number = last_seen.strip_prefix(self.epoch.as_str());
        let number = number.and_then(|rest| rest.strip_prefix('-')?.parse::<u64>().ok());
        match number {
            Some(number) if number < self.next() => Resume::At(number.saturating_add(1)),
            _ => Resume::Unknown,
        }
    }
}

enum Resume {
    At(u64),
    /// The events that the client has seen are not of this run.
    Unknown,
}

/// The events of a process. Clones share them. Nothing is watched until the first client connects.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    presence: Presence,
    workers: Handle,
    ring: Mutex<Ring>,
    /// The number of the next event, for those who wait for it.
    head: watch::Sender<u64>,
    streams: Arc<Semaphore>,
    sources: Mutex<Sources>,
}

/// The stores that are watched.
#[derive(Debug, Default)]
struct Sources {
    has_begun: bool,
    /// The number of the store of each shard.
    stores: BTreeMap<ShardId, u64>,
}

impl Hub {
    /// The events of the shards that are here, for this many clients at a time.
    pub fn new(presence: Presence, workers: Handle, streams: usize) -> Self {
        Self(Arc::new(Inner {
            presence,
            workers,
            ring: Mutex::new(Ring::new(KEPT)),
            head: watch::Sender::new(0),
            streams: Arc::new(Semaphore::new(streams)),
            sources: Mutex::default(),
        }))
    }

    /// Begins to watch the stores that are here, and those that come.
    fn watch(&self) {
        if !self.0.watch_all() {
            return;
        }
        let mut shards = self.0.presence.watch();
        // It ends with the process, which has the other handles.
        let inner = Arc::downgrade(&self.0);
        self.0.workers.spawn(async move {
            while shards.changed().await.is_ok() {
                let Some(inner) = inner.upgrade() else { return };
                inner.watch_all();
            }
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the stores that are here and are not watched. Returns whether it has begun now.
    fn watch_all(self: &Arc<Self>) -> bool {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = !std::mem::replace(&mut sources.has_begun, true);
        let present = self.presence.all();
        sources
            .stores
            .retain(|shard, _| present.contains_key(shard));
        for (shard, present) in present {
            let number = present.number();
            if sources.stores.insert(shard, number) == Some(number) {
                continue;
            }
            let changes = present.store().changes();
            self.workers
                .spawn(watch_one(Arc::downgrade(self), shard, changes));
            if !begins {
                let text = EventData::Missed { events: None }.written();
                let concerns = Concerns::Shard(shard);
                self.lock().push(Kept { concerns, text });
                self.tell();
            }
        }
        begins
    }

    /// Tells clients that something was kept.
    fn tell(&self) {
        let next = self.lock().next();
        self.head.send_replace(next);
    }

    /// Keeps the events of rows of a shard.
    async fn take(&self, shard: ShardId, rows: &[RowChange]) {
        // What has just ended has no watchers.
        let Some(present) = self.presence.get(shard) else {
            return;
        };
        let agents = match agents_of(&present, rows).await {
            Ok(agents) => agents,
            Err(error) => {
                tracing::debug!(shard.id = shard.0, %error, "the agents of events cannot be looked up");
                return self.lock().lose(1);
            }
        };
        for change in rows {
            // An agent that was removed has no watchers.
            let Some((address, name)) = agents.get(&agent_of(change)) else {
                continue;
            };
            for event in of_row(change, name) {
                let concerns = Concerns::Agent(address.clone());
                let text = event.written();
                self.lock().push(Kept { concerns, text });
            }
        }
    }
}

/// Keeps the events of a store, until it closes.
async fn watch_one(
    inner: std::sync::Weak<Inner>,
    shard: ShardId,
    mut changes: broadcast::Receiver<Arc<[RowChange]>>,
) {
    loop {
        let received = changes.recv().await;
        let Some(inner) = inner.upgrade() else { return };
        match received {
            Ok(rows) => inner.take(shard, &rows).await,
            Err(RecvError::Lagged(groups)) => inner.lock().lose(groups),
            Err(RecvError::Closed) => return,
        }
        inner.tell();
    }
}

/// The addresses and names of the agents of rows, of those that are hosted.
async fn agents_of(
    present: &Present,
    rows: &[RowChange],
) -> Result<HashMap<AgentId, (String, String)>, StoreError> {
    let ids = rows.iter().map(agent_of);
    if let Some(running) = present.running() {
        let named = ids.filter_map(|id| {
            let hosted = running.registry.get(id)?;
            Some((id, (hosted.address.to_string(), hosted.config.name.clone())))
        });
        return Ok(named.collect());
    }
    let ids: Vec<_> = ids.collect();
    let find = move |state: &State| {
        let named = ids.into_iter().filter_map(|id| {
            let row = state.agents().get(&id)?;
            Some((id, (row.address.to_string(), row.name.clone())))
        });
        named.collect()
    };
    present.store().query(find).await
}

/// A client.
struct Client {
    api: Api,
    caller: Caller,
    /// The shards of its agents, in a cluster.
    shards: Vec<ShardId>,
    /// When they were asked for last.
    asked: Instant,
    visitor: Visitor,
    next: u64,
    head: watch::Receiver<u64>,
    /// Written first.
    begin: Option<String>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    /// What is written next; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        if let Some(connection) = &self.connection {
            connection.writing();
        }
        if let Some(begin) = self.begin.take() {
            return Some(begin);
        }
        if self.asked.elapsed() >= KEEP_ALIVE {
            self.asked = Instant::now();
            for shard in &self.shards {
                self.api.presence().ask(*shard);
            }
        }
        loop {
            self.head.borrow_and_update();
            let text = self.collect();
            if !text.is_empty() {
                return Some(text);
            }
            match tokio::time::timeout(KEEP_ALIVE, self.head.changed()).await {
                Ok(Ok(())) => {}
                // The runtime has stopped.
                Ok(Err(_)) => return None,
                Err(_) => {
                    return match self.api.again(&self.visitor).await {
                        Ok(caller) if caller == self.caller => Some(": \n\n".to_owned()),
                        _ => None,
                    };
                }
            }
        }
    }

    /// The next events that the caller may see.
    fn collect(&mut self) -> String {
        let mut text = String::new();
        let hub = self.api.hub();
        let ring = hub.0.lock();
        if self.next < ring.first {
            let missed = EventData::Missed {
                events: Some(ring.first - self.next),
            };
            self.next = ring.first;
            text.push_str(&format!("id: {}\n", ring.id(ring.first - 1)));
            text.push_str(&missed.written());
        }
        let mut written = 0;
        while written < BATCH
            && let Some(event) = usize::try_from(self.next - ring.first)
                .ok()
                .and_then(|index| ring.events.get(index))
        {
            if event.concerns.is_seen_by(&self.caller, &hub.0.presence) {
                text.push_str(&format!("id: {}\n{}", ring.id(self.next), event.text));
                written += 1;
            }
            self.next += 1;
        }
        text
    }
}

/// Serves the stream.
pub async fn stream(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    match begin(&api, &request).await {
        Ok(client) => {
            let written = stream::unfold(client, |mut client| async move {
                let text = client.next().await?;
                Some((Ok::<_, Infallible>(Bytes::from(text)), client))
            });
            HttpResponse::Ok()
                .content_type("text/event-stream")
                // A proxy that collects responses would hold the events back.
                .insert_header(("x-accel-buffering", "no"))
                .streaming(Box::pin(written))
        }
        Err(error) => {
            answer::log(&error, "events");
            answer::error(&error)
        }
    }
}

async fn begin(api: &Api, request: &HttpRequest) -> Result<Client, DoorError> {
    let (caller, visitor) = api.visitor(request).await?;
    caller.check_read()?;
    if !request.query_string().is_empty() {
        return Err(DoorError::invalid(
            "this path has no parameters in the query",
        ));
    }
    let hub = api.hub();
    let busy = |_| DoorError::new(ErrorCode::Busy, "too many streams of events are open");
    let permit = Arc::clone(&hub.0.streams).try_acquire_owned();
    let permit = permit.map_err(busy)?;
    hub.watch();
    let shards = api.shards_of(&caller);
    if !shards.is_empty() {
        let come = shards.iter().map(|shard| api.presence().reach(*shard));
        // One that does not come now may come later.
        drop(tokio::time::timeout(COMPLETE, join_all(come)).await);
        hub.watch();
    }
    let last_seen = request.headers().get("last-event-id");
    let last_seen = last_seen.and_then(|id| id.to_str().ok());
    let (next, begin) = {
        let ring = hub.0.lock();
        let (next, missed) = match ring.resume(last_seen) {
            Resume::At(next) => (next, None),
            Resume::Unknown => (ring.next(), Some(EventData::Missed { events: None })),
        };
        let id = ring.id(next.saturating_sub(1));
        let ready = EventData::Ready {}.written();
        let missed = missed.map(|missed| missed.written()).unwrap_or_default();
        (
            next,
            format!("retry: {RETRY_MS}\nid: {id}\n{ready}{missed}"),
        )
    };
    Ok(Client {
        visitor,
        head: hub.0.head.subscribe(),
        connection: request.conn_data::<Connection>().cloned(),
        api: api.clone(),
        caller,
        shards,
        asked: Instant::now(),
        next,
        begin: Some(begin),
        _permit: permit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        Kept {
            concerns: Concerns::Agent("ait1one".to_owned()),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_was_away_too_long_is_told() {
        let mut ring = Ring::new(3);
        for number in 1..=5 {
            ring.push(kept(&number.to_string()));
        }
        assert_eq!((ring.events.len(), ring.first, ring.next()), (3, 3, 6));
        let at = |seen: Option<&str>| match ring.resume(seen) {
            Resume::At(next) => Some(next),
            Resume::Unknown => None,
        };
        assert_eq!(at(None), Some(6));
        assert_eq!(at(Some(&ring.id(4))), Some(5));
        assert_eq!(at(Some(&ring.id(1))), Some(2), "which is before the first");
        assert_eq!(at(Some(&ring.id(6))), None, "which has not happened");
        assert_eq!(at(Some("another-4")), None);
        ring.lose(2);
        assert_eq!((ring.events.len(), ring.first), (0, 8));
    }

    #[test]
    fn the_name_of_an_event_is_in_its_data() {
        let event = EventData::Missed { events: Some(3) };
        assert_eq!(
            event.written(),
            "event: missed\ndata: {\"event\":\"missed\",\"events\":3}\n\n"
        );
    }
}
