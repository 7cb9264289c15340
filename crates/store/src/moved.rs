//! A store whose agents moved into a cluster, or that is being made of a cluster's shards.
//!
//! The mark is in the store itself, so that whatever happens to the process that moves the agents, a
//! runtime does not act on what others act on: [`Store::open`](crate::Store::open) refuses a store with
//! a mark.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use agentry_core::cluster::Incarnation;
use rusqlite::Connection;

use super::{BUSY_TIMEOUT, Store, StoreError, meta, open_for_a_look, place};

/// Where the agents of a store are, if they are not in it, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// They were moved into a cluster.
    Away {
        /// The cluster.
        cluster: Incarnation,
        /// The import.
        attempt: Incarnation,
    },
    /// They are being moved here from a cluster.
    Arriving {
        /// The cluster.
        cluster: Incarnation,
        /// The export.
        attempt: Incarnation,
    },
}

impl fmt::Display for Moved {
    /// As it is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { cluster, attempt } => write!(f, "away {cluster} {attempt}"),
            Self::Arriving { cluster, attempt } => write!(f, "arriving {cluster} {attempt}"),
        }
    }
}

impl FromStr for Moved {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "it is no mark of a store that was moved";
        let mut words = text.split(' ');
        let word = words.next();
        let mut id = || words.next().and_then(|id| id.parse().ok()).ok_or(WRONG);
        let (cluster, attempt) = (id()?, id()?);
        match word {
            Some("away") => Ok(Self::Away { cluster, attempt }),
            Some("arriving") => Ok(Self::Arriving { cluster, attempt }),
            _ => Err(WRONG),
        }
    }
}

/// The mark of the store at a path, if it has one.
///
/// # Errors
/// There is no store, or it cannot be read.
pub fn moved(path: &Path) -> Result<Option<Moved>, StoreError> {
    read(&open_for_a_look(path)?.0)
}

/// Takes the mark away from a store that no process has open: it may be used from now on.
///
/// # Errors
/// [`StoreError::Locked`], and it cannot be written.
pub fn arrived(path: &Path) -> Result<(), StoreError> {
    let (path, _lock) = place::claim(path)?;
    write(&path, None)
}

impl Store {
    /// Marks the store. When this returns `Ok`, that is on the disk, and no runtime opens the store
    /// from now on. The caller, who has it open, makes no changes any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn set_moved(&self, moved: Moved) -> Result<(), StoreError> {
        let path = self.path().to_owned();
        self.read(move |_| write(&path, Some(&moved))).await
    }
}

fn write(path: &Path, moved: Option<&Moved>) -> Result<(), StoreError> {
    let open = |error| StoreError::open(path, error);
    let connection = Connection::open(path).map_err(open)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
    connection
        .pragma_update(None, "synchronous", "full")
        .map_err(open)?;
    mark(&connection, moved)?;
    connection.close().map_err(|(_, error)| open(error))
}

/// Writes the mark as a part of what the connection writes.
pub(super) fn mark(connection: &Connection, moved: Option<&Moved>) -> Result<(), StoreError> {
    let moved = moved.map(ToString::to_string);
    Ok(meta::write(connection, meta::MOVED, moved)?)
}

fn read(connection: &Connection) -> Result<Option<Moved>, StoreError> {
    Ok(meta::read(connection, meta::MOVED, str::parse)?)
}

/// Refuses a store with a mark.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let path = path.to_owned();
    match read(connection)? {
        None => Ok(()),
        Some(Moved::Away { cluster, .. }) => Err(StoreError::MovedAway { path, cluster }),
        Some(Moved::Arriving { cluster, .. }) => Err(StoreError::Arriving { path, cluster }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_with_a_mark_is_not_opened_until_the_mark_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agentry.db");
        let (cluster, attempt) = (Incarnation([1; 16]), Incarnation([0xfe; 16]));
        assert_eq!(Store::open(&path).map(drop).ok(), Some(()));
        assert_eq!(moved(&path).unwrap(), None);
        for mark in [
            Moved::Away { cluster, attempt },
            Moved::Arriving { cluster, attempt },
        ] {
            assert_eq!(mark.to_string().parse(), Ok(mark));
            let store = Store::open(&path).unwrap();
            store.set_moved(mark).await.unwrap();
            drop(store);
            assert_eq!(moved(&path).unwrap(), Some(mark));
            let refused = Store::open(&path).unwrap_err();
            assert!(refused.to_string().contains(&cluster.to_string()));
            let is_named = match mark {
                Moved::Away { .. } => matches!(refused, StoreError::MovedAway { .. }),
                Moved::Arriving { .. } => matches!(refused, StoreError::Arriving { .. }),
            };
            assert!(is_named, "{refused}");
            arrived(&path).unwrap();
        }
        Store::open(&path).unwrap();
        for wrong in ["", "away", "away 1 2", "gone"] {
            assert!(wrong.parse::<Moved>().is_err(), "{wrong}");
        }
    }
}
