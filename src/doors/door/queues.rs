//! What operators do: looking at the queues, retrying and dropping rows, resuming posting, reloading
//! the configuration.

use agentry_core::commit::{QueueKind, QueueTarget, Selection};
use agentry_protocol::Timestamp;
use agentry_store::Reader;
use agentry_store::list::pick::{self, Part};
use agentry_store::list::{self, Filter};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Scope;
use super::super::error::{DoorError, ErrorCode};
use super::pages::{Entry, Page};
use super::{About, Door, limit};
use crate::ops::change::StoreChange;
use crate::ops::names::Names;
use crate::ops::queues::list::{self as queues, QueueRow, RowId};
use crate::ops::who;
use crate::runtime::reload::Applied;

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueName {
    /// Messages to hosted agents.
    Inbox,
    /// Transactions of hosted agents.
    Outbox,
    /// Other events for agents: timers, delivery updates, news of tasks.
    Events,
}

impl From<QueueName> for QueueKind {
    fn from(queue: QueueName) -> Self {
        match queue {
            QueueName::Inbox => Self::Inbox,
            QueueName::Outbox => Self::Outbox,
            QueueName::Events => Self::Events,
        }
    }
}

/// Which rows of a queue are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueuePart {
    /// Those about which something is still to be done.
    #[default]
    Open,
    /// Dead letters: messages and events that could not be handled, transactions that could not be
    /// sent.
    Dead,
    /// All.
    All,
}

impl From<QueuePart> for Part {
    fn from(part: QueuePart) -> Self {
        match part {
            QueuePart::Open => Self::Open,
            QueuePart::Dead => Self::Dead,
            QueuePart::All => Self::All,
        }
    }
}

/// The rows to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQueue {
    /// The queue.
    pub queue: QueueName,
    /// Which of its rows; the open ones if not given.
    #[serde(default)]
    pub part: QueuePart,
    /// Only rows of this hosted agent: its name or its address. Needed if you may not use all agents.
    pub agent: Option<String>,
    /// Only messages from this address or name.
    pub from: Option<String>,
    /// Only transactions to this address or name.
    pub to: Option<String>,
    /// Only rows of this behaviour: its events, and what it sent.
    pub behaviour: Option<String>,
    /// Only rows that are not older than this.
    pub since: Option<u64>,
    /// Only rows whose last failure had exactly this reason.
    pub reason: Option<String>,
    /// The most rows of a page; 20 if not given.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    pub cursor: Option<String>,
}

/// Rows of a queue, newest first. A page may be short although there are more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueuePage {
    /// The rows.
    pub rows: Vec<QueueEntry>,
    /// The cursor of the next page; null if there is none.
    pub next: Option<String>,
}

/// A row of a queue.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueueEntry {
    /// Its id, such as `inbox/12`, `outbox/7` or `event/3`.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// Its state.
    pub state: String,
    /// The sender of a message; null for an event.
    pub from: Option<String>,
    /// The recipient; null for an event.
    pub to: Option<String>,
    /// Whether the sender of a received message is verified.
    pub authenticity: Option<String>,
    /// The content of a message: data of its sender. Null if it is sealed.
    pub text: Option<String>,
    /// The name of the command, if the message is one; the kind of an event.
    pub kind: Option<String>,
    /// Its transaction.
    pub transaction: Option<String>,
    /// The block that holds it.
    pub height: Option<u64>,
    /// How many attempts have failed.
    pub attempts: u64,
    /// Why it failed last.
    pub reason: Option<String>,
    /// Why it waits.
    pub waits: Option<String>,
    /// When it was seen, requested or created.
    #[schemars(with = "u64")]
    pub made_at: Timestamp,
    /// When it is due; null: at once.
    #[schemars(with = "Option<u64>")]
    pub due_at: Option<Timestamp>,
}

/// The rows to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeQueue {
    /// The rows, by their ids; or no ids and `all`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub ids: Vec<String>,
    /// All dead letters that the other conditions select.
    #[serde(default)]
    pub all: bool,
    /// Of all: only those of this queue.
    pub queue: Option<QueueName>,
    /// Only those of this hosted agent: its name or its address. Needed for all dead letters if you may
    /// not use all agents; and for rows, in a cluster, if you may use several.
    pub agent: Option<String>,
    /// Of all: only messages from this address or name.
    pub from: Option<String>,
    /// Of all: only transactions to this address or name.
    pub to: Option<String>,
    /// Of all: only those of this behaviour: its events, and what it sent.
    pub behaviour: Option<String>,
    /// Of all: only those that are not older than this.
    pub since: Option<u64>,
    /// Of all: only those whose last failure had exactly this reason.
    pub reason: Option<String>,
    /// Of all: how many you expect. If it is another number, nothing is changed.
    pub expected: Option<u64>,
}

/// The dead letters to count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountQueue {
    /// Only those of this queue.
    pub queue: Option<QueueName>,
    /// Only those of this hosted agent: its name or its address. Needed if you may not use all agents.
    pub agent: Option<String>,
    /// Only messages from this address or name.
    pub from: Option<String>,
    /// Only transactions to this address or name.
    pub to: Option<String>,
    /// Only those of this behaviour: its events, and what it sent.
    pub behaviour: Option<String>,
    /// Only those that are not older than this.
    pub since: Option<u64>,
    /// Only those whose last failure had exactly this reason.
    pub reason: Option<String>,
}

/// How many dead letters there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QueueCount {
    /// Dead letters and failed transactions: as many as a retry or a drop of `all` would change.
    pub dead_letters: u64,
}

impl ChangeQueue {
    /// The dead letters that it selects, if it selects all.
    fn selected(&self) -> CountQueue {
        CountQueue {
            queue: self.queue,
            agent: self.agent.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            behaviour: self.behaviour.clone(),
            since: self.since,
            reason: self.reason.clone(),
        }
    }
}

impl ListQueue {
    /// The conditions on its rows.
    fn selected(&self) -> CountQueue {
        CountQueue {
            queue: Some(self.queue),
            agent: self.agent.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            behaviour: self.behaviour.clone(),
            since: self.since,
            reason: self.reason.clone(),
        }
    }
}

/// What was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangedRows {
    /// How many rows.
    pub changed: usize,
}

/// Resumes posting after a halt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumePosting {}

/// Whether posting was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResumedPosting {
    /// False if it was not stopped.
    pub resumed: bool,
}

/// Reloads the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadConfig {
    /// The agents and fleets whose behaviours are restarted, whether they have changed or not.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub restart: Vec<String>,
}

impl Door {
    /// Lists rows of a queue, page by page.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list_queue(&self, request: ListQueue) -> Result<QueuePage, DoorError> {
        self.caller.check_oversee()?;
        let limit = limit(request.limit)?;
        let (only, place) = (request.agent.as_deref(), (request.cursor.as_deref(), limit));
        let listed = self.listed(only, place, |door, before| {
            door.rows(request.clone(), before, limit)
        });
        let (rows, next) = listed.await?;
        Ok(QueuePage { rows, next })
    }

    /// Rows of a queue, of an agent or, if none is named, of all that the caller may use, before a row.
    async fn rows(
        self,
        request: ListQueue,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<QueueEntry>, DoorError> {
        self.look(async move |db, door| {
            let selection = door.selection(db, &request.selected())?;
            let part = request.part.into();
            let names = Names::new(&door.config, Some(db))?;
            let queue = request.queue.into();
            let place = (before, limit);
            let page = queues::page(db, (queue, part), &selection, place, &names, &door.config);
            let page = page.await?;
            let rows = page.rows.into_iter().filter_map(QueueEntry::of);
            Ok((rows.collect(), page.next))
        })
        .await
    }

    /// Has dead letters handled, or failed transactions posted, once more.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn retry_queue(&self, request: ChangeQueue) -> Result<ChangedRows, DoorError> {
        self.change(request, StoreChange::Retry).await
    }

    /// Drops dead letters and failed transactions, and what waits: they are not retried.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn drop_queue(&self, request: ChangeQueue) -> Result<ChangedRows, DoorError> {
        self.change(request, StoreChange::Drop).await
    }

    async fn change(
        &self,
        request: ChangeQueue,
        change: fn(QueueTarget) -> StoreChange,
    ) -> Result<ChangedRows, DoorError> {
        self.caller.check_operate()?;
        let agent = request.agent.as_deref();
        let doors = match request.all {
            true => self.in_shards(agent).await?,
            false => vec![self.in_shard(About::Row(agent)).await?],
        };
        if let Some(expected) = request.expected.filter(|_| request.all) {
            let found = Self::dead_letters(&doors, &request.selected()).await?;
            if found != expected {
                let message = format!(
                    "{found} rows are selected now, and {expected} were expected: nothing was changed"
                );
                return Err(DoorError::new(ErrorCode::Conflict, message));
            }
        }
        let mut changed = 0;
        for door in doors {
            let request = request.clone();
            let targets = door.look(async move |db, door| door.targets(db, &request));
            for target in targets.await? {
                changed += door.runtime().change(change(target)).await?;
            }
        }
        Ok(ChangedRows { changed })
    }

    /// Counts dead letters and failed transactions: as many as a retry or a drop of all would change.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn count_queue(&self, request: CountQueue) -> Result<QueueCount, DoorError> {
        self.caller.check_oversee()?;
        let doors = self.in_shards(request.agent.as_deref()).await?;
        let dead_letters = Self::dead_letters(&doors, &request).await?;
        Ok(QueueCount { dead_letters })
    }

    async fn dead_letters(doors: &[Self], selected: &CountQueue) -> Result<u64, DoorError> {
        let counts = doors.iter().map(|door| {
            let selected = selected.clone();
            door.look(async move |db, door| {
                let selection = door.selection(db, &selected)?;
                Ok(pick::count_dead(db, &selection)?)
            })
        });
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    /// The conditions on rows, with names resolved to addresses.
    fn selection(&self, db: &Reader, request: &CountQueue) -> Result<Selection, DoorError> {
        let address = |who: &Option<String>| match who {
            Some(who) => Ok::<_, DoorError>(Some(who::resolve(who, &self.config)?.to_string())),
            None => Ok(None),
        };
        Ok(Selection {
            queue: request.queue.map(QueueKind::from),
            agent: self.operated(db, request.agent.as_deref())?,
            sender: address(&request.from)?,
            recipient: address(&request.to)?,
            behaviour: request.behaviour.clone(),
            since: request.since.map(Timestamp::new),
            reason: request.reason.clone(),
        })
    }

    fn targets(&self, db: &Reader, request: &ChangeQueue) -> Result<Vec<QueueTarget>, DoorError> {
        match (request.all, request.ids.as_slice()) {
            (true, []) => {
                let selection = self.selection(db, &request.selected())?;
                Ok(vec![QueueTarget::Matching(selection)])
            }
            (false, ids @ [_, ..]) if ids.len() <= 100 => {
                let narrowed = CountQueue {
                    agent: None,
                    ..request.selected()
                };
                if narrowed != CountQueue::default() || request.expected.is_some() {
                    let message = "`queue` and the like narrow down `all`; ids name their rows";
                    return Err(DoorError::invalid(message));
                }
                ids.iter().map(|id| self.target(db, id)).collect()
            }
            _ => Err(DoorError::invalid("give 1 to 100 `ids`, or `all`")),
        }
    }

    /// The row with this id, if the caller may see it.
    fn target(&self, db: &Reader, id: &str) -> Result<QueueTarget, DoorError> {
        let target = id.parse().and_then(RowId::target)?;
        let exists = |agent: Option<String>| -> Result<bool, DoorError> {
            let filter = |row| Filter {
                row: Some(row),
                agent: agent.clone(),
                limit: 1,
                ..Filter::default()
            };
            Ok(match &target {
                QueueTarget::Inbox(row) => !list::inbox(db, &filter(row.0))?.is_empty(),
                QueueTarget::Outbox(row) => !list::outbox(db, &filter(row.0))?.is_empty(),
                QueueTarget::Event(row) => !list::events(db, &filter(row.0))?.is_empty(),
                QueueTarget::All | QueueTarget::Matching(_) => false,
            })
        };
        let seen = match &self.caller.agents {
            Scope::All => exists(None)?,
            Scope::Only(agents) => {
                let mut agents = agents.iter();
                agents.try_fold(false, |seen, agent| {
                    Ok::<_, DoorError>(seen || exists(Some(agent.to_string()))?)
                })?
            }
        };
        if seen {
            Ok(target)
        } else {
            Err(DoorError::not_found(format_args!("row {id}")))
        }
    }

    /// The address of the agent whose rows are meant; none for those of all agents, if the caller may
    /// use all.
    pub(super) fn operated(
        &self,
        db: &Reader,
        given: Option<&str>,
    ) -> Result<Option<String>, DoorError> {
        match (given, &self.caller.agents) {
            (None, Scope::All) => Ok(None),
            (given, _) => Ok(Some(self.agent(db, given)?.address.to_string())),
        }
    }

    /// Resumes posting after a halt.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn resume_posting(&self, _: ResumePosting) -> Result<ResumedPosting, DoorError> {
        self.caller.check_operate_all()?;
        let mut resumed = 0;
        for door in self.everywhere() {
            resumed += door.runtime().change(StoreChange::Resume).await?;
        }
        Ok(ResumedPosting {
            resumed: resumed > 0,
        })
    }

    /// Reloads the configuration, and applies what has changed.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn reload(&self, request: ReloadConfig) -> Result<Applied, DoorError> {
        self.caller.check_operate_all()?;
        let mut applied = Applied::default();
        for door in self.everywhere() {
            let restart = request.restart.clone();
            applied.add(door.runtime().reload(restart).await?);
        }
        Ok(applied)
    }
}

impl Entry for QueueEntry {
    fn id(&self) -> &str {
        &self.id
    }

    fn at(&self) -> Timestamp {
        self.made_at
    }
}

impl QueueEntry {
    /// A row; none for a forged message, which is in no queue.
    fn of(row: QueueRow) -> Option<Self> {
        Some(match row {
            QueueRow::Message(row) => Self {
                id: row.item.id,
                agent: row.item.agent,
                state: row.item.state,
                from: Some(row.item.from),
                to: Some(row.item.to),
                authenticity: Some(row.item.authenticity),
                text: row.words.text,
                kind: row.words.cmd,
                transaction: Some(row.item.transaction),
                height: row.item.height,
                attempts: row.item.attempts,
                reason: row.item.reason,
                waits: row.waits,
                made_at: row.item.seen_at,
                due_at: row.item.due_at,
            },
            QueueRow::Transaction(row) => Self {
                id: row.item.id,
                agent: row.item.agent,
                state: row.item.state,
                from: Some(row.item.from),
                to: Some(row.item.to),
                authenticity: None,
                text: row.words.text,
                kind: row.words.cmd,
                transaction: row.item.transaction,
                height: row.item.height,
                attempts: row.item.posts,
                reason: row.item.reason,
                waits: row.waits,
                made_at: row.item.created_at,
                due_at: None,
            },
            QueueRow::Event(row) => Self {
                id: row.item.id,
                agent: row.item.agent,
                state: row.item.state,
                from: None,
                to: None,
                authenticity: None,
                text: None,
                kind: Some(row.item.kind),
                transaction: None,
                height: None,
                attempts: row.item.attempts,
                reason: row.item.reason,
                waits: row.waits,
                made_at: row.item.made_at,
                due_at: row.item.due_at,
            },
            QueueRow::Forged(_) => return None,
        })
    }
}
