//! What operators do: looking at the queues, retrying and dropping rows, resuming posting, reloading
//! the configuration.

use agentry_core::commit::{QueueKind, QueueTarget, Selection};
use agentry_protocol::Timestamp;
use agentry_store::Reader;
use agentry_store::list::{self, Filter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Scope;
use super::super::error::DoorError;
use super::pages::{Entry, Page};
use super::{About, Door, limit};
use crate::ops::change::StoreChange;
use crate::ops::names::Names;
use crate::ops::queues::list::{self as queues, QueueRow, RowId};
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

impl QueuePart {
    fn states(self, queue: QueueName) -> Vec<String> {
        let states: &[&str] = match (self, queue) {
            (Self::All, _) => &[],
            (Self::Open, QueueName::Inbox) => &["waiting", "withdrawn"],
            (Self::Open, QueueName::Outbox) => &["queued", "prepared", "accepted", "mined"],
            (Self::Open, QueueName::Events) => &["waiting"],
            (Self::Dead, QueueName::Inbox | QueueName::Events) => &["dead"],
            (Self::Dead, QueueName::Outbox) => &["failed"],
        };
        states.iter().map(|state| (*state).to_owned()).collect()
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
        self.caller.check_operate()?;
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
            let filter = Filter {
                agent: door.operated(db, request.agent.as_deref())?,
                states: request.part.states(request.queue),
                before,
                limit: limit as u64,
                ..Filter::default()
            };
            let names = Names::new(&door.config, Some(db))?;
            let queue = request.queue.into();
            let page = queues::page(db, queue, &filter, &names, &door.config).await?;
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

    fn targets(&self, db: &Reader, request: &ChangeQueue) -> Result<Vec<QueueTarget>, DoorError> {
        match (request.all, request.ids.as_slice()) {
            (true, []) => Ok(vec![QueueTarget::Matching(Selection {
                queue: request.queue.map(QueueKind::from),
                agent: self.operated(db, request.agent.as_deref())?,
                ..Selection::default()
            })]),
            (false, ids @ [_, ..]) if ids.len() <= 100 => {
                if request.queue.is_some() {
                    let message = "`queue` narrows down `all`; ids name their queues";
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
