//! The database as the hosts use it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::ClusterError;
use crate::link::{Call, Link};
use crate::settings::{Limits, Settings};

/// The database that the hosts of a cluster share. Cheap to clone.
///
/// It has a connection each for beats, for claims, for requests that are passed on, and for everything
/// else, so that nothing waits for what takes longer. Each is made when it is first needed, and again
/// after it was lost.
/// Every call has a [limit](Limits). A call that is dropped has an unknown outcome.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    beats: Mutex<Link>,
    claims: Mutex<Link>,
    calls: Mutex<Link>,
    bulk: Mutex<Link>,
    calm: std::sync::Mutex<Calm>,
}

/// Since when the database was reached without a break.
#[derive(Debug)]
struct Calm {
    since: Instant,
    connections: u64,
}

impl Database {
    /// Connects to the server that takes writes.
    ///
    /// # Errors
    /// No server can be used.
    pub async fn connect(settings: &Settings) -> Result<Self, ClusterError> {
        let link = |purpose| Mutex::new(Link::new(settings, purpose));
        let database = Self(Arc::new(Inner {
            settings: settings.clone(),
            beats: link("beats"),
            claims: link("claims"),
            calls: link("calls"),
            bulk: link("bulk"),
            calm: std::sync::Mutex::new(Calm {
                since: Instant::now(),
                connections: 0,
            }),
        }));
        database.ping().await?;
        Ok(database)
    }

    /// Asks the database for nothing.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn ping(&self) -> Result<(), ClusterError> {
        let call = Call::read("reaching the database", self.limits().call);
        let answer = self.bulk().await.query(call, ("select 1", &[])).await;
        answer.map(|_| ())
    }

    /// Connects for claims, so that the first one does not wait for that: the agents of a shard are silent
    /// until it is done.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn prepare_to_claim(&self) -> Result<(), ClusterError> {
        let call = Call::read("reaching the database", self.limits().call);
        let answer = self.claims().await.query(call, ("select 1", &[])).await;
        answer.map(|_| ())
    }

    /// How the database is reached.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.settings.limits()
    }

    /// The connection for beats.
    pub(crate) async fn beats(&self) -> MutexGuard<'_, Link> {
        self.0.beats.lock().await
    }

    /// The connection for claims.
    pub(crate) async fn claims(&self) -> MutexGuard<'_, Link> {
        self.0.claims.lock().await
    }

    /// The connection for requests that are passed on.
    pub(crate) async fn calls(&self) -> MutexGuard<'_, Link> {
        self.0.calls.lock().await
    }

    /// The connection for everything else.
    pub(crate) async fn bulk(&self) -> MutexGuard<'_, Link> {
        self.0.bulk.lock().await
    }

    /// For how long the connection of a guard was not lost, as far as calls have noticed.
    pub(crate) fn calm(&self, link: &Link) -> Duration {
        let mut calm = self
            .0
            .calm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if calm.connections != link.connections() {
            *calm = Calm {
                since: Instant::now(),
                connections: link.connections(),
            };
        }
        calm.since.elapsed()
    }
}

/// A column of a row.
///
/// # Errors
/// It is missing, or has another type.
pub(crate) fn column<'a, T: FromSql<'a>>(
    row: Option<&'a Row>,
    at: usize,
    what: &'static str,
) -> Result<T, ClusterError> {
    let row = row.ok_or_else(|| ClusterError::damaged(what, &"there is no row"))?;
    row.try_get(at)
        .map_err(|error| ClusterError::damaged(what, &error))
}

/// A number as the type that it has here.
///
/// # Errors
/// It is out of range.
pub(crate) fn number<T: TryFrom<N>, N>(what: &'static str, number: N) -> Result<T, ClusterError>
where
    N: Copy + ToString,
{
    T::try_from(number).map_err(|_| {
        ClusterError::damaged(what, &format!("{} is out of range", number.to_string()))
    })
}

/// A number as the database keeps it.
///
/// # Errors
/// It is larger than a column holds.
pub(crate) fn integer(what: &'static str, number: u64) -> Result<i64, ClusterError> {
    i64::try_from(number)
        .map_err(|_| ClusterError::damaged(what, &format!("{number} is too large")))
}
