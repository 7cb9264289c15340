//! Listing the rows of the queues, and looking up one.

use std::path::PathBuf;
use std::slice::from_ref;
use std::str::FromStr;

use agentry_core::commit::{QueueKind, QueueTarget, Selection};
use agentry_core::rows::EventId;
use agentry_core::{InboxId, OutboxId};
use agentry_store::list::pick::{self, Part};
use agentry_store::list::{self, EventItem, Filter, ForgedItem, InboxItem, OutboxItem};
use agentry_store::read::{self, Counts};
use agentry_store::{Reader, StoreError};
use serde::Serialize;

use super::rows::{EventRow, ForgedRow, MessageRow, TransactionRow};
use super::spending::{Spending, spending};
use super::waits::Waits;
use crate::config::Config;
use crate::ops::names::Names;
use crate::runtime::clock::Clock;

/// A queue of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Queue {
    /// Messages that wait to be handled
    Inbox,
    /// Transactions that are not yet in a block
    Outbox,
    /// Other events for agents: timers, delivery updates, task updates
    Events,
    /// Messages and events that could not be handled, and transactions that could not be sent
    Dead,
    /// Messages that name a sender who did not sign them
    Forged,
}

/// The rows to list.
#[derive(Clone, Debug)]
pub struct ListRows {
    /// The queue; all but the forged messages if none is given.
    pub queue: Option<Queue>,
    /// The conditions on the rows.
    pub selection: Selection,
    /// Only rows in these states; if empty, those that wait and those that failed.
    pub states: Vec<String>,
    /// Rows in all states.
    pub settled: bool,
    /// At most this many of each queue, the newest.
    pub limit: u64,
}

/// Rows of the queues, and what their state depends on.
#[derive(Debug, Serialize)]
pub struct QueueList {
    /// Messages.
    pub messages: Vec<MessageRow>,
    /// Other events.
    pub events: Vec<EventRow>,
    /// Transactions.
    pub transactions: Vec<TransactionRow>,
    /// Forged messages.
    pub forged: Vec<ForgedRow>,
    /// Whether some queue has more rows than the limit.
    pub more: bool,
    /// The number of all rows.
    pub counts: Counts,
    /// Today's spending of the selected agent.
    pub spending: Option<Spending>,
    /// Why posting is stopped.
    pub halted: Option<String>,
}

/// Lists rows, with the reasons why they wait as far as the store or the running runtime knows them.
///
/// # Errors
/// The store's.
pub async fn list(
    db: &Reader,
    wanted: &ListRows,
    names: &Names<'_>,
    config: &Config,
) -> Result<QueueList, StoreError> {
    let found = find(db, wanted)?;
    let counts = read::counts(db)?;
    let halted = read::identity(db)?.halted;
    let spending = match &wanted.selection.agent {
        Some(agent) => spending(db, agent, config)?,
        None => None,
    };
    let waits = Waits::ask(&found.messages, &found.transactions, &config.store.path).await;
    let now = Clock::default().now();
    let (messages, events) = (found.messages.into_iter(), found.events.into_iter());
    let (transactions, forged) = (found.transactions.into_iter(), found.forged.into_iter());
    Ok(QueueList {
        messages: messages
            .map(|item| MessageRow::new(item, names, &waits))
            .collect(),
        events: events
            .map(|item| EventRow::new(item, now, &waits))
            .collect(),
        transactions: transactions
            .map(|item| TransactionRow::new(item, names, &waits))
            .collect(),
        forged: forged.map(|item| ForgedRow::new(item, names)).collect(),
        more: found.more,
        counts,
        spending,
        halted,
    })
}

/// A page ends after this many bytes of content, or after the one row that exceeds them.
const PAGE_BYTES: usize = 1 << 20;

/// Rows of one queue, newest first.
#[derive(Debug)]
pub struct RowPage {
    /// The rows.
    pub rows: Vec<QueueRow>,
    /// The row before which the next page begins; `None` if there are no older rows.
    pub next: Option<i64>,
}

/// Reads the newest rows of a part of one queue that are selected, with the reasons why they wait: those
/// before a row, at most so many. A page may be shorter than that although there are more.
///
/// # Errors
/// The store's.
pub async fn page(
    db: &Reader,
    (queue, part): (QueueKind, Part),
    selection: &Selection,
    (before, limit): (Option<i64>, usize),
    names: &Names<'_>,
    config: &Config,
) -> Result<RowPage, StoreError> {
    let store = &config.store.path;
    // One more than the limit shows whether there are others.
    let most = (limit as u64).saturating_add(1);
    let mut picked = pick::pick(db, queue, part, selection, before, most)?;
    let mut more = picked.len() > limit;
    picked.truncate(limit);
    let (mut bytes, mut found) = (0, Vec::new());
    for row in picked {
        let item = Item::read(db, queue, row)?;
        bytes += item.as_ref().map_or(0, Item::bytes);
        found.push((row, item));
        if bytes >= PAGE_BYTES {
            more = true;
            break;
        }
    }
    let last = found.last().map(|(row, _)| *row);
    let (mut messages, mut transactions) = (Vec::new(), Vec::new());
    for (_, item) in &found {
        match item {
            Some(Item::Message(item)) => messages.push((**item).clone()),
            Some(Item::Transaction(item)) => transactions.push((**item).clone()),
            Some(Item::Event(_)) | None => {}
        }
    }
    let waits = Waits::ask(&messages, &transactions, store).await;
    let now = Clock::default().now();
    let rows = found.into_iter().filter_map(|(_, item)| {
        Some(match item? {
            Item::Message(item) => {
                QueueRow::Message(Box::new(MessageRow::new(*item, names, &waits)))
            }
            Item::Transaction(item) => {
                QueueRow::Transaction(Box::new(TransactionRow::new(*item, names, &waits)))
            }
            Item::Event(item) => QueueRow::Event(Box::new(EventRow::new(*item, now, &waits))),
        })
    });
    Ok(RowPage {
        rows: rows.collect(),
        next: last.filter(|_| more),
    })
}

/// A row as the store has it.
enum Item {
    Message(Box<InboxItem>),
    Transaction(Box<OutboxItem>),
    Event(Box<EventItem>),
}

impl Item {
    fn read(db: &Reader, queue: QueueKind, row: i64) -> Result<Option<Self>, StoreError> {
        let filter = Filter {
            row: Some(row),
            limit: 1,
            ..Filter::default()
        };
        Ok(match queue {
            QueueKind::Inbox => {
                let item = list::inbox(db, &filter)?.pop();
                item.map(|item| Self::Message(Box::new(item)))
            }
            QueueKind::Outbox => {
                let item = list::outbox(db, &filter)?.pop();
                item.map(|item| Self::Transaction(Box::new(item)))
            }
            QueueKind::Events => {
                let item = list::events(db, &filter)?.pop();
                item.map(|item| Self::Event(Box::new(item)))
            }
        })
    }

    /// How many bytes of content it has.
    fn bytes(&self) -> usize {
        match self {
            Self::Message(item) => item.stored.len(),
            Self::Transaction(item) => item.payload.len(),
            Self::Event(item) => item.data.len(),
        }
    }
}

/// The rows to list, as read from the store.
#[derive(Debug, Default)]
struct Found {
    messages: Vec<InboxItem>,
    events: Vec<EventItem>,
    transactions: Vec<OutboxItem>,
    forged: Vec<ForgedItem>,
    more: bool,
}

fn find(db: &Reader, wanted: &ListRows) -> Result<Found, StoreError> {
    let ListRows {
        queue,
        selection,
        states,
        settled,
        limit,
    } = wanted;
    let limit = *limit;
    let filter = |words: &[&str], other: &Option<String>| Filter {
        agent: selection.agent.clone(),
        other: other.clone(),
        behaviour: selection.behaviour.clone(),
        since: selection.since,
        states: if *settled {
            Vec::new()
        } else if states.is_empty() {
            words.iter().map(|word| (*word).to_owned()).collect()
        } else {
            states.clone()
        },
        // One row more than the limit shows whether there are others.
        limit: limit.saturating_add(1),
        ..Filter::default()
    };
    let (sender, recipient) = (&selection.sender, &selection.recipient);
    // A sender selects messages; a recipient selects transactions.
    let either = sender.is_some() || recipient.is_some();
    let (incoming, outgoing) = (sender.is_some() || !either, recipient.is_some() || !either);
    let is_wanted = |one: Queue| queue.is_none_or(|only| only == one);
    let mut found = Found::default();
    if is_wanted(Queue::Inbox) && incoming {
        let filter = filter(&["waiting", "withdrawn"], sender);
        found.messages = newest(list::inbox(db, &filter)?, limit, &mut found.more);
    }
    if is_wanted(Queue::Events) && !either {
        let events = list::events(db, &filter(&["waiting"], &None))?;
        found.events = newest(events, limit, &mut found.more);
    }
    if is_wanted(Queue::Outbox) && outgoing {
        let filter = filter(&["queued", "prepared", "accepted", "mined"], recipient);
        found.transactions = newest(list::outbox(db, &filter)?, limit, &mut found.more);
    }
    if *queue == Some(Queue::Forged) && incoming {
        let filter = Filter {
            states: Vec::new(),
            ..filter(&[], sender)
        };
        found.forged = newest(list::forged(db, &filter)?, limit, &mut found.more);
    }
    // If states are named, or all are listed, dead letters are already included.
    let unnamed = queue.is_none() && !settled && states.is_empty();
    if *queue == Some(Queue::Dead) || unnamed {
        let of_state = |state: &str, other: &Option<String>| Filter {
            states: vec![state.to_owned()],
            ..filter(&[], other)
        };
        if incoming {
            let dead = list::inbox(db, &of_state("dead", sender))?;
            let dead = newest(dead, limit, &mut found.more);
            found.messages.extend(dead);
        }
        if !either {
            let dead = list::events(db, &of_state("dead", &None))?;
            let dead = newest(dead, limit, &mut found.more);
            found.events.extend(dead);
        }
        if outgoing {
            let failed = list::outbox(db, &of_state("failed", recipient))?;
            let failed = newest(failed, limit, &mut found.more);
            found.transactions.extend(failed);
        }
    }
    Ok(found)
}

/// The newest rows of a query, up to the limit; records whether there are more.
fn newest<T>(mut rows: Vec<T>, limit: u64, more: &mut bool) -> Vec<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let over = rows.len().saturating_sub(limit);
    *more |= over > 0;
    rows.split_off(over)
}

/// The id of a row, as `queue list` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowId {
    text: String,
    row: Row,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    Inbox(InboxId),
    Outbox(OutboxId),
    Event(EventId),
    Forged(i64),
}

impl FromStr for RowId {
    type Err = RowError;

    fn from_str(id: &str) -> Result<Self, RowError> {
        let wrong = || RowError::Id(id.to_owned());
        let (queue, row) = id.split_once('/').ok_or_else(wrong)?;
        let row: i64 = row.parse().map_err(|_| wrong())?;
        let row = match queue {
            "inbox" => Row::Inbox(InboxId(row)),
            "outbox" => Row::Outbox(OutboxId(row)),
            "event" => Row::Event(EventId(row)),
            "forged" => Row::Forged(row),
            _ => return Err(wrong()),
        };
        let text = id.to_owned();
        Ok(Self { text, row })
    }
}

impl RowId {
    /// The row, to be changed.
    ///
    /// # Errors
    /// [`RowError::Forged`].
    pub fn target(self) -> Result<QueueTarget, RowError> {
        match self.row {
            Row::Inbox(row) => Ok(QueueTarget::Inbox(row)),
            Row::Outbox(row) => Ok(QueueTarget::Outbox(row)),
            Row::Event(row) => Ok(QueueTarget::Event(row)),
            Row::Forged(_) => Err(RowError::Forged(self.text)),
        }
    }
}

/// Why there is no row with an id.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It is not an id.
    #[error(
        "{0:?} is not an id of a queue; `agentry queue list` prints them, such as inbox/12, \
         outbox/7 or event/3"
    )]
    Id(String),
    /// It is the id of a row that cannot be changed.
    #[error("{0} is forged: no behaviour sees it, and it is pruned automatically")]
    Forged(String),
    /// The store has no such row.
    #[error("there is no {id} in {}", store.display())]
    Missing {
        /// The id.
        id: String,
        /// The store.
        store: PathBuf,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row of the queues.
#[derive(Debug)]
pub enum QueueRow {
    /// A message.
    Message(Box<MessageRow>),
    /// A transaction.
    Transaction(Box<TransactionRow>),
    /// Another event.
    Event(Box<EventRow>),
    /// A forged message.
    Forged(Box<ForgedRow>),
}

impl QueueRow {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Message(row) => &row.item.id,
            Self::Transaction(row) => &row.item.id,
            Self::Event(row) => &row.item.id,
            Self::Forged(row) => &row.item.id,
        }
    }
}

/// The row with this id.
///
/// # Errors
/// [`RowError`].
pub async fn show(
    db: &Reader,
    id: RowId,
    names: &Names<'_>,
    config: &Config,
) -> Result<QueueRow, RowError> {
    let store = &config.store.path;
    let filter = |row| Filter {
        row: Some(row),
        limit: 1,
        ..Filter::default()
    };
    let missing = || RowError::Missing {
        id: id.text.clone(),
        store: store.clone(),
    };
    Ok(match id.row {
        Row::Inbox(row) => {
            let found = list::inbox(db, &filter(row.0))?.pop();
            let item = found.ok_or_else(missing)?;
            let waits = Waits::ask(from_ref(&item), &[], store).await;
            QueueRow::Message(Box::new(MessageRow::new(item, names, &waits)))
        }
        Row::Outbox(row) => {
            let found = list::outbox(db, &filter(row.0))?.pop();
            let item = found.ok_or_else(missing)?;
            let waits = Waits::ask(&[], from_ref(&item), store).await;
            QueueRow::Transaction(Box::new(TransactionRow::new(item, names, &waits)))
        }
        Row::Event(row) => {
            let found = list::events(db, &filter(row.0))?.pop();
            let item = found.ok_or_else(missing)?;
            let (waits, now) = (Waits::ask(&[], &[], store).await, Clock::default().now());
            QueueRow::Event(Box::new(EventRow::new(item, now, &waits)))
        }
        Row::Forged(row) => {
            let found = list::forged(db, &filter(row))?.pop();
            let item = found.ok_or_else(missing)?;
            QueueRow::Forged(Box::new(ForgedRow::new(item, names)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_rows() {
        let target = |id: &str| id.parse::<RowId>().and_then(RowId::target);
        let event = QueueTarget::Event(EventId(3));
        assert_eq!(target("event/3").unwrap(), event);
        assert!(matches!(target("forged/1"), Err(RowError::Forged(_))));
        for bad in ["", "inbox", "inbox/", "inbox/x", "letters/1", "inbox/1/2"] {
            assert!(matches!(target(bad), Err(RowError::Id(_))), "{bad}");
        }
    }
}
