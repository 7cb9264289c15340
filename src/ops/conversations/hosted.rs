//! Messages of a hosted agent, read from the store.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use agentry_core::rows::OutboxState;
use agentry_store::list::talk::{self, ListedMessage, MessageRow, Selection};
use agentry_store::{Reader, StoreError};

use super::super::sealed::Opener;
use super::{Direction, MessageEntry, MessageFilter, MessageList};

/// How often the store is checked for new messages.
const POLL: Duration = Duration::from_millis(200);

/// Reads the messages of a hosted agent.
#[derive(Debug)]
pub struct HostedMessages<'a> {
    db: &'a Reader,
    filter: MessageFilter,
    opener: Opener,
    /// Whether messages are read as they come: then a sent message is read once it is in a block or
    /// has failed.
    follow: bool,
    /// The version of the store that was read last.
    version: i64,
    /// The last rows that were read.
    inbox: i64,
    forged: i64,
    outbox: i64,
    /// Sent messages that are neither in a block nor failed.
    open: BTreeSet<i64>,
}

impl<'a> HostedMessages<'a> {
    /// A reader that has read nothing yet.
    pub fn new(db: &'a Reader, store: &Path, filter: MessageFilter, follow: bool) -> Self {
        Self {
            db,
            filter,
            opener: Opener::new(store, "no runtime hosts its recipient"),
            follow,
            version: 0,
            inbox: 0,
            forged: 0,
            outbox: 0,
            open: BTreeSet::new(),
        }
    }

    /// The newest messages.
    ///
    /// # Errors
    /// The store's.
    pub async fn newest(&mut self) -> Result<MessageList, StoreError> {
        self.version = talk::version(self.db)?;
        // One more than asked for shows whether there are older ones.
        let mut told = self.unread(self.filter.limit.saturating_add(1))?;
        let older = told.len().saturating_sub(self.filter.limit);
        Ok(MessageList {
            messages: self.entries(told.split_off(older)).await,
            more: older > 0,
        })
    }

    /// Waits for messages that were not read yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Vec<MessageEntry>, StoreError> {
        loop {
            tokio::time::sleep(POLL).await;
            if talk::version(self.db)? != self.version {
                return self.fresh().await;
            }
        }
    }

    /// The messages that were not read yet, without waiting for any.
    ///
    /// # Errors
    /// The store's.
    pub async fn fresh(&mut self) -> Result<Vec<MessageEntry>, StoreError> {
        let version = talk::version(self.db)?;
        if version == self.version {
            return Ok(Vec::new());
        }
        self.version = version;
        let told = self.unread(usize::MAX)?;
        Ok(self.entries(told).await)
    }

    /// Messages that were not read yet, in the chain's order.
    fn unread(&mut self, limit: usize) -> Result<Vec<ListedMessage>, StoreError> {
        // All queries read the same snapshot.
        let _moment = self.db.snapshot()?;
        let MessageFilter {
            agent,
            from,
            thread,
            direction,
            ..
        } = &self.filter;
        let selection = |after| Selection {
            agent: agent.to_string(),
            from: from.as_ref().map(ToString::to_string),
            thread: thread.as_ref().map(ToString::to_string),
            after,
            limit,
            ..Selection::default()
        };
        let mut told = Vec::new();
        if *direction == Direction::Forged {
            told = talk::forged(self.db, &selection(self.forged))?;
            self.forged = highest(&told, self.forged);
        } else if direction.receives() {
            told = talk::received(self.db, &selection(self.inbox))?;
            self.inbox = highest(&told, self.inbox);
        }
        // A message from somebody else was not sent by this agent.
        let ours = from.as_ref().is_none_or(|from| from == agent);
        if ours && direction.sends() {
            let mut rows = talk::sent(self.db, &selection(self.outbox))?;
            self.outbox = highest(&rows, self.outbox);
            for row in &self.open {
                rows.extend(talk::sent_at(self.db, *row)?);
            }
            self.open.clear();
            if self.follow {
                rows.retain(|one| {
                    let settled = is_settled(one);
                    if let (MessageRow::Outbox(row), false) = (one.place, settled) {
                        self.open.insert(row);
                    }
                    settled
                });
            }
            told.extend(rows);
        }
        told.sort_by_key(ListedMessage::turn);
        Ok(told)
    }

    async fn entries(&mut self, told: Vec<ListedMessage>) -> Vec<MessageEntry> {
        self.opener.again();
        let mut entries = Vec::with_capacity(told.len());
        for one in told {
            entries.push(MessageEntry::read(one, &mut self.opener).await);
        }
        entries
    }
}

fn highest(rows: &[ListedMessage], before: i64) -> i64 {
    rows.iter().fold(before, |highest, one| match one.place {
        MessageRow::Inbox(row) | MessageRow::Forged(row) | MessageRow::Outbox(row) => {
            highest.max(row)
        }
    })
}

/// Whether a sent message is in a block or has failed.
fn is_settled(told: &ListedMessage) -> bool {
    let settled = [OutboxState::Mined, OutboxState::Final, OutboxState::Failed];
    settled.iter().any(|state| told.state == state.as_str())
}
