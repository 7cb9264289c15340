//! Messages of a hosted agent, page by page.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use agentry_store::list::talk::{self, ListedMessage, MessageRow, Selection};
use agentry_store::{Reader, StoreError};

use super::super::sealed::Opener;
use super::{Direction, MessageEntry};

/// How many rows are read from the store at a time: each may be as large as a transaction can be.
const BATCH: usize = 8;

/// A page ends after this many bytes of content, or after the one message that exceeds them.
const PAGE_BYTES: usize = 1 << 20;

/// A position among the messages of an agent: in both queues, the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    inbox: i64,
    outbox: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.inbox, self.outbox)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (inbox, outbox) = text.split_once('-').ok_or(())?;
        let row = |text: &str| text.parse().ok().filter(|row: &i64| *row >= 0).ok_or(());
        Ok(Self {
            inbox: row(inbox)?,
            outbox: row(outbox)?,
        })
    }
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the newest messages.
    Newest,
    /// With the newest messages before a position.
    Before(Position),
    /// With the oldest messages after a position.
    After(Position),
}

/// The messages to read.
#[derive(Clone, Debug)]
pub struct PageFilter {
    /// Those of the hosted agent at this address.
    pub agent: String,
    /// Only those from this sender.
    pub from: Option<String>,
    /// Only those of this conversation.
    pub thread: Option<String>,
    /// Their direction; none are read of those that are [forged](Direction::Forged).
    pub direction: Direction,
    /// Where the page begins.
    pub begin: Begin,
    /// At most this many.
    pub limit: usize,
}

/// Messages of a hosted agent, oldest first.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<MessageEntry>,
    /// Where the older ones end; `None` if there are none.
    pub older: Option<Position>,
    /// Where the newer ones begin.
    pub newer: Position,
}

/// Reads a page of messages.
///
/// # Errors
/// The store's.
pub async fn page(
    db: &Reader,
    filter: &PageFilter,
    opener: &mut Opener,
) -> Result<MessagePage, StoreError> {
    let oldest_first = matches!(filter.begin, Begin::After(_));
    let ours = filter
        .from
        .as_ref()
        .is_none_or(|from| *from == filter.agent);
    let mut inbox = Lane::new(filter, Queue::Inbox, filter.direction.receives());
    let mut outbox = Lane::new(filter, Queue::Outbox, ours && filter.direction.sends());
    let mut messages = Vec::new();
    let mut bytes = 0;
    while messages.len() < filter.limit && bytes < PAGE_BYTES {
        let (received, sent) = (inbox.peek(db)?, outbox.peek(db)?);
        let lane = match (received, sent) {
            (None, None) => break,
            (Some(_), None) => &mut inbox,
            (None, Some(_)) => &mut outbox,
            (Some(received), Some(sent)) if (received < sent) == oldest_first => &mut inbox,
            (Some(_), Some(_)) => &mut outbox,
        };
        let Some(told) = lane.take() else { break };
        let entry = MessageEntry::read(told, opener).await;
        bytes += entry.text.as_ref().map_or(0, String::len);
        messages.push(entry);
    }
    let more = inbox.peek(db)?.is_some() || outbox.peek(db)?.is_some();
    let (first, last) = (
        Position {
            inbox: inbox.first,
            outbox: outbox.first,
        },
        Position {
            inbox: inbox.last,
            outbox: outbox.last,
        },
    );
    if oldest_first {
        return Ok(MessagePage {
            messages,
            older: Some(first),
            newer: last,
        });
    }
    messages.reverse();
    Ok(MessagePage {
        messages,
        older: more.then_some(last),
        newer: Position {
            inbox: first.inbox.saturating_sub(1).max(0),
            outbox: first.outbox.saturating_sub(1).max(0),
        },
    })
}

#[derive(Clone, Copy)]
enum Queue {
    Inbox,
    Outbox,
}

impl Queue {
    const fn of(self, position: Position) -> i64 {
        match self {
            Self::Inbox => position.inbox,
            Self::Outbox => position.outbox,
        }
    }
}

/// The messages of one queue, in the order in which they are read.
struct Lane<'a> {
    filter: &'a PageFilter,
    queue: Queue,
    /// Rows that were read and not taken.
    read: VecDeque<ListedMessage>,
    /// The last row that was read from the store, or the position at which reading begins.
    at: Option<i64>,
    /// Whether the store has no more.
    ended: bool,
    /// The bound of the rows on the side where the page begins.
    first: i64,
    /// The bound of the rows on the side where the page ends.
    last: i64,
}

impl<'a> Lane<'a> {
    fn new(filter: &'a PageFilter, queue: Queue, is_read: bool) -> Self {
        let at = match filter.begin {
            Begin::Newest => None,
            Begin::Before(position) | Begin::After(position) => Some(queue.of(position)),
        };
        let (first, last) = match filter.begin {
            Begin::Newest => (0, i64::MAX),
            Begin::Before(position) => (queue.of(position), queue.of(position)),
            Begin::After(position) => {
                let row = queue.of(position);
                (row.saturating_add(1), row)
            }
        };
        Self {
            filter,
            queue,
            read: VecDeque::new(),
            at,
            ended: !is_read,
            first,
            last,
        }
    }

    /// The turn of the next row.
    fn peek(&mut self, db: &Reader) -> Result<Option<(u64, bool, i64)>, StoreError> {
        if self.read.is_empty() && !self.ended {
            let oldest_first = matches!(self.filter.begin, Begin::After(_));
            let selection = Selection {
                agent: self.filter.agent.clone(),
                from: self.filter.from.clone(),
                thread: self.filter.thread.clone(),
                after: self.at.filter(|_| oldest_first).unwrap_or(0),
                before: self.at.filter(|_| !oldest_first),
                oldest_first,
                limit: BATCH,
            };
            let rows = match self.queue {
                Queue::Inbox => talk::received(db, &selection)?,
                Queue::Outbox => talk::sent(db, &selection)?,
            };
            self.ended = rows.len() < BATCH;
            if let (Begin::Newest, None, Some(newest)) = (self.filter.begin, self.at, rows.first())
            {
                self.first = row(newest).saturating_add(1);
            }
            self.at = rows.last().map(row).or(self.at);
            self.read = rows.into();
        }
        Ok(self.read.front().map(ListedMessage::turn))
    }

    fn take(&mut self) -> Option<ListedMessage> {
        let told = self.read.pop_front()?;
        self.last = row(&told);
        Some(told)
    }
}

fn row(told: &ListedMessage) -> i64 {
    match told.place {
        MessageRow::Inbox(row) | MessageRow::Forged(row) | MessageRow::Outbox(row) => row,
    }
}
