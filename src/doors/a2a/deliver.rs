//! Telling receivers of push notifications of their tasks, at least once.
//!
//! What is told is the task as it is now, as a `StreamResponse`, whenever it has changed since it was
//! told last: a receiver that was away misses what was in between, and never the end. The digest of
//! what was delivered is stored, so a restart goes on from there. A task that has ended is told once
//! more, and its receiver is removed. One that is not reached is called again, with pauses of up to an
//! hour, and removed when it is not reached for about half a day.
//!
//! Tasks are not polled: changes of rows name the agents whose tasks are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use a2a::{GetTaskRequest, StreamResponse, Task, error_code};
use agentry_behaviours::net;
use agentry_core::cluster::ShardId;
use agentry_core::state::row::Push;
use agentry_core::{AgentId, Commit, State};
use agentry_protocol::ContentHash;
use agentry_store::{RowChange, Store, StoreError};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, ClientBuilder};
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::api::events::agent_of;
use super::super::caller::Caller;
use super::super::door::Door;
use super::super::error::ErrorCode;
use super::{MEDIA_TYPE, Session, calls, push};
use crate::config::Config;
use crate::runtime::backoff;
use crate::runtime::clock::Clock;

/// How often the changes since the last look are looked at.
const POLL: Duration = Duration::from_millis(500);

/// How often every receiver is looked at, whatever has changed.
const ALL: Duration = Duration::from_secs(3600);

/// How long a call may take.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// How many receivers are called at the same time.
const CALLS: usize = 16;

/// How many of them for the same token: one whose receivers are slow takes no place from others.
const CALLS_OF_TOKEN: usize = 2;

/// The shortest and the longest pause before a receiver is called again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));

/// After so many calls in a row that failed, a receiver is removed: about half a day.
const MOST_FAILURES: u32 = 24;

/// The deliveries; dropping it ends them.
#[derive(Debug)]
pub struct Serving(actix_rt::task::JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells receivers until the returned guard is dropped. Must be called within an actix system.
///
/// In a cluster, the store is that of this shard, and the receivers are those of its agents.
pub fn serve(
    store: Store,
    clock: Clock,
    config: watch::Receiver<Arc<Config>>,
    shard: Option<ShardId>,
) -> Serving {
    let build = |client: ClientBuilder| client.timeout(TIME_LIMIT).build().map_err(net::reasons);
    let links = Links {
        store,
        clock,
        config,
        shard,
        public: build(net::public_client(TIME_LIMIT)),
        any: build(net::client(TIME_LIMIT)),
    };
    Serving(actix_rt::spawn(run(Arc::new(links))))
}

struct Links {
    store: Store,
    clock: Clock,
    config: watch::Receiver<Arc<Config>>,
    shard: Option<ShardId>,
    /// Calls public addresses only.
    public: Result<Client, String>,
    any: Result<Client, String>,
}

/// What is to be looked at.
#[derive(Default)]
struct Due {
    changes: Option<broadcast::Receiver<Arc<[RowChange]>>>,
    /// The receivers whose tasks may have changed.
    numbers: BTreeSet<i64>,
    all_at: Option<Instant>,
}

impl Due {
    /// Takes up what has changed since the last look.
    fn take_up(&mut self, open: &[Push], store: &Store) {
        if open.is_empty() {
            // While nobody is told anything, nothing is noted.
            *self = Self::default();
            return;
        }
        let mut agents: BTreeSet<AgentId> = BTreeSet::new();
        self.numbers
            .retain(|number| open.iter().any(|row| row.number == *number));
        let is_first = self.changes.is_none();
        let changes = self.changes.get_or_insert_with(|| store.changes());
        let mut all = is_first || self.all_at.is_none_or(|at| at <= Instant::now());
        loop {
            match changes.try_recv() {
                Ok(rows) => agents.extend(rows.iter().map(agent_of)),
                Err(TryRecvError::Lagged(_)) => all = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if all {
            self.all_at = Some(Instant::now() + ALL);
        }
        let touched = open.iter().filter(|row| {
            let is_new = row.told.is_none() && row.failures == 0;
            all || is_new || row.due_at.is_some() || agents.contains(&row.push.agent)
        });
        self.numbers.extend(touched.map(|row| row.number));
    }
}

async fn run(links: Arc<Links>) {
    let mut config = links.config.clone();
    let mut due = Due::default();
    let mut calls: JoinSet<(i64, Result<(), StoreError>)> = JoinSet::new();
    let mut under_way: BTreeMap<i64, agentry_core::TokenName> = BTreeMap::new();
    loop {
        while let Some(ended) = calls.try_join_next() {
            match ended {
                Ok((number, told)) => {
                    under_way.remove(&number);
                    if let Err(error) = told {
                        tracing::error!(%error, "cannot tell a receiver of push notifications");
                    }
                }
                // A panic was reported, and which receiver it was is not known: all are looked at.
                Err(_) => {
                    under_way.clear();
                    due = Due::default();
                }
            }
        }
        if config.borrow_and_update().a2a.is_none() {
            if config.changed().await.is_err() {
                // The runtime has stopped.
                return;
            }
            continue;
        }
        match links.store.query(State::open_pushes).await {
            Ok(open) => {
                due.take_up(&open, &links.store);
                let now = links.clock.now();
                for row in open {
                    let owner = &row.push.owner;
                    let is_late = row.due_at.is_none_or(|at| at <= now);
                    let of_token = under_way.values().filter(|one| *one == owner).count();
                    let has_place = under_way.len() < CALLS && of_token < CALLS_OF_TOKEN;
                    let is_free = has_place && !under_way.contains_key(&row.number);
                    if is_late && is_free && due.numbers.remove(&row.number) {
                        under_way.insert(row.number, owner.clone());
                        let links = Arc::clone(&links);
                        calls.spawn_local(async move { (row.number, links.tell(row).await) });
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot read whom to tell of tasks");
                tokio::time::sleep(60 * POLL).await;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Why a receiver was not told.
enum Untold {
    /// There is nothing to tell any more.
    Gone,
    /// Not now, without secrets.
    Failed(String),
    /// The store cannot be read.
    Store(StoreError),
}

impl Links {
    /// Tells a receiver of its task, if that has changed.
    async fn tell(&self, row: Push) -> Result<(), StoreError> {
        let number = row.number;
        let change = match self.try_to_tell(&row).await {
            Ok(None) => return Ok(()),
            Ok(Some((_, true))) | Err(Untold::Gone) => Commit::EndPush { number },
            Ok(Some((told, false))) => Commit::PushTold { number, told },
            Err(Untold::Store(error)) => return Err(error),
            Err(Untold::Failed(error)) => {
                let failures = row.failures.saturating_add(1);
                let (task, agent) = (&row.push.task, &row.push.target);
                if failures >= MOST_FAILURES {
                    tracing::warn!(
                        task,
                        agent,
                        error,
                        "a receiver of push notifications was not reached for half a day; it is told no more"
                    );
                    Commit::EndPush { number }
                } else {
                    let pause = backoff::between(PAUSES).nth(row.failures as usize);
                    let pause = pause.unwrap_or(PAUSES.1);
                    tracing::info!(
                        task,
                        agent,
                        error,
                        "a receiver of push notifications was not reached; it is called again in {} s",
                        pause.as_secs()
                    );
                    Commit::PushFailed {
                        number,
                        failures,
                        due_at: self.clock.now().plus(pause),
                    }
                }
            }
        };
        self.store.commit(change).await.map(drop)
    }

    /// What was told, and whether the task has ended; none if it is as it was.
    async fn try_to_tell(&self, row: &Push) -> Result<Option<(ContentHash, bool)>, Untold> {
        let owner = row.push.owner.clone();
        let find = move |state: &State| state.tokens().get(&owner);
        let token = self.store.query(find).await.map_err(Untold::Store)?;
        let now = self.clock.now();
        let valid = token.filter(|row| row.token.is_valid_at(now));
        let token = valid.ok_or(Untold::Gone)?.token.clone();
        let config = Arc::clone(&self.config.borrow());
        let door = Door::of_shard(config, Caller::of_token(token), self.shard);
        let may_be_private = door.may_push_privately();
        let task = task(door, row).await?;
        let is_over = task.status.state.is_terminal();
        let body = body(task).map_err(|error| Untold::Failed(error.to_string()))?;
        let digest = ContentHash::of(body.as_bytes());
        if row.told == Some(digest) {
            return Ok(None);
        }
        self.post(row, may_be_private, body)
            .await
            .map_err(Untold::Failed)?;
        Ok(Some((digest, is_over)))
    }

    /// Posts a body once; `Err` is why it was not accepted, without secrets.
    async fn post(&self, row: &Push, may_be_private: bool, body: String) -> Result<(), String> {
        let url = push::target(row.push.url.expose(), may_be_private)?;
        let client = if may_be_private {
            &self.any
        } else {
            &self.public
        };
        let mut request = client.as_ref().map_err(Clone::clone)?.post(url);
        request = request.header("content-type", MEDIA_TYPE);
        if let Some(token) = &row.push.token {
            request = request.header("x-a2a-notification-token", secret(token.expose())?);
        }
        if let Some(scheme) = &row.push.scheme {
            let credentials = row.push.credentials.as_ref();
            let credentials = credentials.map_or(String::new(), |one| format!(" {}", one.expose()));
            request = request.header(AUTHORIZATION, secret(&format!("{scheme}{credentials}"))?);
        }
        net::tell(request.body(body)).await
    }
}

/// The value of a header that no log shows.
fn secret(text: &str) -> Result<HeaderValue, &'static str> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| "its token or credentials fit no header")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The task of a receiver, as its owner may see it now.
async fn task(door: Door, row: &Push) -> Result<Task, Untold> {
    // An agent whose card is not known now may be known again.
    let target = door.a2a_target(row.push.target.clone()).await;
    let target = target.map_err(|error| Untold::Failed(error.to_string()))?;
    let session = Session {
        door,
        target,
        from: None,
        seal: false,
    };
    let wanted = GetTaskRequest {
        id: row.push.task.clone(),
        history_length: Some(0),
        tenant: None,
    };
    calls::get_task(&session, &wanted).await.map_err(|failed| {
        let is_gone = failed.error.code == error_code::TASK_NOT_FOUND
            || failed.status == ErrorCode::NotAllowed.status();
        match is_gone {
            true => Untold::Gone,
            false => Untold::Failed(failed.error.message),
        }
    })
}

/// What is told, with the keys of its objects in their order: the same of the same task.
fn body(task: Task) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(StreamResponse::Task(task))?;
    value.sort_all_objects();
    serde_json::to_string(&value)
}
