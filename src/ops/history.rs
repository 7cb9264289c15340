//! What a hosted agent did, and what happened to it, read from the store: one list in the order of
//! time.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use agentry_protocol::{Address, Timestamp};
use agentry_store::list::history::{
    self, HistoryKind, HistoryPlace, HistorySelection, HistorySubject,
};
use agentry_store::list::talk;
use agentry_store::{Reader, StoreError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::conversations::MessageEntry;
use super::names::Names;
use super::sealed::Opener;

/// How often the store is checked for something new.
const POLL: Duration = Duration::from_millis(250);

/// How far back it is looked for something new: what is stored later can have happened earlier.
const LATE: Duration = Duration::from_secs(30);

/// How many entries are read at most when something new was stored.
const MOST_NEW: usize = 10_000;

/// A place in a history, as commands print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(HistoryPlace);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HistoryPlace { at, kind, row } = self.0;
        write!(f, "{}.{}.{row}", at.get(), kind.as_str())
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.split('.');
            let (at, kind, row) = (parts.next()?, parts.next()?, parts.next()?);
            parts.next().is_none().then_some(())?;
            Some(HistoryPlace {
                at: Timestamp::new(at.parse().ok()?),
                kind: HistoryKind::parse(kind)?,
                row: row.parse().ok()?,
            })
        };
        read()
            .map(Self)
            .ok_or_else(|| "take the place from `older` of a page that was printed".to_owned())
    }
}

/// What to read of a history.
#[derive(Clone, Debug)]
pub struct HistoryFilter {
    /// That of the hosted agent at this address.
    pub agent: Address,
    /// Only what is not older than this.
    pub since: Option<Timestamp>,
    /// Only what was before this place.
    pub before: Option<Place>,
    /// At most this many entries, the newest.
    pub limit: usize,
}

/// Something that an agent did, or that happened to it.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    /// When.
    #[serde(rename = "happened_at")]
    pub at: Timestamp,
    /// What: see [`HistoryKind`], where `settled`, `delivery` and `task-ended` are replaced by the
    /// state that was reached.
    pub event: String,
    /// The row, as `queue show` and `task show` take it.
    pub id: String,
    /// The row of the message that it follows from.
    pub follows: Option<String>,
    /// The sender of a message, or its recipient; who requested a task.
    pub other: Option<String>,
    /// Their name.
    pub other_name: Option<String>,
    /// The content of the message; `None` if it is sealed and was not opened, or was pruned.
    pub text: Option<String>,
    /// Whether it is sealed.
    pub sealed: bool,
    /// The amount that the message transfers, in AIT, with all its digits.
    pub amount: Option<Box<RawValue>>,
    /// The conversation that it belongs to.
    pub thread: Option<String>,
    /// Its transaction.
    pub transaction: Option<String>,
    /// Its block.
    pub height: Option<u64>,
    /// Whether the sender of an arrived message is verified.
    pub authenticity: Option<String>,
    /// The type of the task.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// How many attempts have failed; of a task, how many have begun.
    pub attempts: Option<u64>,
    /// The state of the row now.
    pub state: String,
    /// Why it waits, failed or was refused; what a recipient said of it.
    pub reason: Option<String>,
}

/// A page of a history, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryPage {
    /// The entries.
    pub history: Vec<HistoryEntry>,
    /// Whether there are older ones.
    pub more: bool,
    /// The place before which they are; `None` if there are none.
    pub older: Option<String>,
}

/// Reads the history of an agent.
#[derive(Debug)]
pub struct History<'a> {
    db: &'a Reader,
    filter: HistoryFilter,
    opener: Opener,
    /// The version of the store that was read last.
    version: i64,
    /// What was read of the last while.
    seen: BTreeSet<HistoryPlace>,
}

impl<'a> History<'a> {
    /// A reader that has read nothing yet.
    pub fn new(db: &'a Reader, store: &Path, filter: HistoryFilter) -> Self {
        Self {
            db,
            filter,
            opener: Opener::new(store, "no runtime hosts its recipient"),
            version: 0,
            seen: BTreeSet::new(),
        }
    }

    /// The newest entries.
    ///
    /// # Errors
    /// The store's.
    pub async fn newest(&mut self) -> Result<HistoryPage, StoreError> {
        self.version = talk::version(self.db)?;
        let limit = self.filter.limit;
        // One more than asked for shows whether there are older ones.
        let mut places = self.places(self.filter.since, limit.saturating_add(1))?;
        let more = places.len() > limit;
        places.truncate(limit);
        let last = places.last().map(|place| Place(*place).to_string());
        self.seen = places.iter().copied().collect();
        Ok(HistoryPage {
            history: self.entries(places).await?,
            more,
            older: last.filter(|_| more),
        })
    }

    /// Waits for entries that were not read yet; oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut pause = POLL;
        loop {
            tokio::time::sleep(pause).await;
            let version = talk::version(self.db)?;
            if version == self.version {
                continue;
            }
            let began = Instant::now();
            let newest = self.seen.last().map(|place| place.at);
            let since = newest.map(|at| at.minus(LATE)).max(self.filter.since);
            let mut places = self.places(since, MOST_NEW)?;
            self.version = version;
            // A long history takes long to read: most of the time is the machine's.
            pause = POLL.max(began.elapsed().saturating_mul(4));
            places.retain(|place| self.seen.insert(*place));
            if let Some(since) = since {
                self.seen.retain(|place| place.at >= since);
            }
            if !places.is_empty() {
                return self.entries(places).await;
            }
        }
    }

    fn places(
        &self,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<HistoryPlace>, StoreError> {
        let selection = HistorySelection {
            since: since.unwrap_or(Timestamp::EPOCH),
            before: self.filter.before.map(|place| place.0),
            limit,
        };
        history::places(self.db, self.filter.agent.as_str(), &selection)
    }

    /// The entries at places that are given newest first; oldest first.
    async fn entries(
        &mut self,
        places: Vec<HistoryPlace>,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut entries = Vec::with_capacity(places.len());
        for place in places.into_iter().rev() {
            if let Some(subject) = history::subject(self.db, &place)? {
                entries.push(HistoryEntry::read(&place, subject, &mut self.opener).await);
            }
        }
        Ok(entries)
    }
}

impl HistoryEntry {
    async fn read(place: &HistoryPlace, subject: HistorySubject, opener: &mut Opener) -> Self {
        match subject {
            HistorySubject::Received {
                message,
                failed_attempts,
            } => {
                let entry = MessageEntry::read(*message, opener).await;
                let event = match (place.kind, &entry.state) {
                    (HistoryKind::Settled, Some(state)) => state.clone(),
                    (kind, _) => kind.as_str().to_owned(),
                };
                let other = Some(entry.from.clone());
                Self {
                    event,
                    other,
                    attempts: Some(failed_attempts),
                    ..Self::of_message(place, entry)
                }
            }
            HistorySubject::Sent { message, follows } => {
                let entry = MessageEntry::read(*message, opener).await;
                let other = Some(entry.to.clone());
                let receipt = entry.receipt.as_ref();
                let receipt = receipt.filter(|_| place.kind == HistoryKind::Delivery);
                let (event, reason) = match receipt {
                    Some(receipt) => (receipt.state, receipt.detail.clone()),
                    None => (place.kind.as_str(), entry.reason.clone()),
                };
                Self {
                    event: event.to_owned(),
                    follows: follows.map(|row| format!("inbox/{row}")),
                    other,
                    reason,
                    ..Self::of_message(place, entry)
                }
            }
            HistorySubject::Task(task) => {
                let event = match place.kind {
                    HistoryKind::TaskEnded => format!("task-{}", task.state),
                    kind => kind.as_str().to_owned(),
                };
                Self {
                    at: place.at,
                    event,
                    id: format!("task/{}", place.row),
                    follows: task.follows.map(|row| format!("inbox/{row}")),
                    other: task.submitter,
                    other_name: None,
                    text: None,
                    sealed: false,
                    amount: None,
                    thread: None,
                    transaction: None,
                    height: None,
                    authenticity: None,
                    kind: Some(task.kind),
                    attempts: Some(task.attempts),
                    state: task.state,
                    reason: task.error,
                }
            }
        }
    }

    /// What all entries on messages say.
    fn of_message(place: &HistoryPlace, entry: MessageEntry) -> Self {
        Self {
            at: place.at,
            event: String::new(),
            id: entry.id.unwrap_or_default(),
            follows: None,
            other: None,
            other_name: None,
            text: entry.text,
            sealed: entry.sealed,
            amount: entry.amount,
            thread: entry.thread,
            transaction: entry.transaction,
            height: entry.height,
            authenticity: entry.authenticity,
            kind: None,
            attempts: None,
            state: entry.state.unwrap_or_default(),
            reason: entry.reason,
        }
    }

    /// Adds the name of the other side.
    #[must_use]
    pub fn named(mut self, names: &Names<'_>) -> Self {
        self.other_name = self.other.as_deref().and_then(|other| names.text(other));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_printed() {
        for kind in HistoryKind::ALL {
            let place = Place(HistoryPlace {
                at: Timestamp::new(1_795_000_000_123),
                kind,
                row: 17,
            });
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in [
            "",
            "12",
            "1.mined",
            "1.minted.3",
            "x.mined.3",
            "1.mined.3.4",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
