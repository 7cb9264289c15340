//! The tables, and the format that they have.

use std::num::NonZeroU16;

use agentry_core::cluster::Incarnation;

use crate::ClusterError;
use crate::database::{Database, column, number};
use crate::hosts::uninitialised;
use crate::link::Call;
use crate::moving::Moving;

/// The format of the tables that this version makes. A version that changes them raises it, in
/// [`Database::init`], once all hosts run that version: an older one refuses them from then on.
pub const FORMAT: u32 = 1;

/// The number of shards of a cluster, if nothing else is asked for. More than the hosts that a
/// cluster is likely to have, so that a host that dies leaves something to each of the others.
pub const SHARDS: NonZeroU16 = NonZeroU16::new(32).unwrap();

/// What a cluster is. It is fixed when it is created, but for the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The cluster's id: random, so that two clusters are never taken for one.
    pub id: Incarnation,
    /// The format of its tables.
    pub format: u32,
    /// The number of its shards.
    pub shards: NonZeroU16,
    /// Why no host runs in it, if none may.
    pub moving: Option<Moving>,
}

/// An id that nothing else has: of a process, a cluster, or an attempt at something.
///
/// # Errors
/// The system has no random numbers.
pub fn random_id() -> Result<Incarnation, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(Incarnation(id))
}

impl Database {
    /// Creates the cluster's tables, with so many shards. What is there stays; what an earlier version
    /// did not have is added.
    ///
    /// # Errors
    /// [`ClusterError::OtherShards`] if the cluster has another number of shards,
    /// [`ClusterError::NewerFormat`] if a later version has changed its tables, and why the database
    /// cannot be used. The role needs the right to create a schema in the database.
    pub async fn init(&self, shards: NonZeroU16) -> Result<Layout, ClusterError> {
        let layout = match self.layout().await {
            Err(ClusterError::NotInitialised) => {
                self.create(shards).await?;
                self.layout().await?
            }
            Ok(layout) if self.lacks_something().await? => {
                self.create(layout.shards).await?;
                layout
            }
            // A column is missing.
            Err(error) if error.code() == Some("42703") => {
                self.create(shards).await?;
                self.layout().await?
            }
            layout => layout?,
        };
        if layout.shards != shards {
            return Err(ClusterError::OtherShards {
                found: layout.shards.get(),
                asked: shards.get(),
            });
        }
        Ok(layout)
    }

    /// Whether an earlier version made the tables, which had fewer of them.
    async fn lacks_something(&self) -> Result<bool, ClusterError> {
        let call = Call::read("looking for the cluster's tables", self.limits().call);
        let sql = "select to_regclass('agentry.worker') is null";
        let rows = self.bulk().await.query(call, (sql, &[])).await?;
        column(rows.first(), 0, "the cluster's tables")
    }

    async fn create(&self, shards: NonZeroU16) -> Result<(), ClusterError> {
        let mut link = self.bulk().await;
        let encoding = Call::read("reading the database's encoding", self.limits().call);
        let rows = link.query(encoding, ("show server_encoding", &[])).await?;
        let found: String = column(rows.first(), 0, "server_encoding")?;
        if found != "UTF8" {
            return Err(ClusterError::Encoding { found });
        }
        let id = random_id().map_err(|error| ClusterError::damaged("randomness", &error))?;
        let script = include_str!("schema.sql")
            .replace("{shards}", &shards.to_string())
            .replace("{format}", &FORMAT.to_string())
            .replace("{id}", &id.to_string());
        let call = Call::write("creating the cluster's tables", self.limits().bulk);
        link.script(call, &script).await
    }

    /// What the cluster is.
    ///
    /// # Errors
    /// [`ClusterError::NotInitialised`], [`ClusterError::NewerFormat`], and why the database cannot
    /// be used.
    pub async fn layout(&self) -> Result<Layout, ClusterError> {
        let call = Call::read("reading what the cluster is", self.limits().call);
        let sql = "select id, format, shards, moving from agentry.cluster";
        let rows = self.bulk().await.query(call, (sql, &[])).await;
        let rows = rows.map_err(uninitialised)?;
        let row = rows.first().ok_or(ClusterError::NotInitialised)?;
        const WHAT: &str = "the cluster's description";
        let id: String = column(Some(row), 0, WHAT)?;
        let (format, shards): (i32, i32) =
            (column(Some(row), 1, WHAT)?, column(Some(row), 2, WHAT)?);
        let layout = Layout {
            id: id
                .parse()
                .map_err(|error| ClusterError::damaged(WHAT, &error))?,
            format: number(WHAT, format)?,
            shards: number::<u16, _>(WHAT, shards)?
                .try_into()
                .map_err(|error| ClusterError::damaged(WHAT, &error))?,
            moving: column::<Option<&str>>(Some(row), 3, WHAT)?
                .map(str::parse)
                .transpose()
                .map_err(|error| ClusterError::damaged(WHAT, &error))?,
        };
        if layout.format > FORMAT {
            return Err(ClusterError::NewerFormat {
                found: layout.format,
                known: FORMAT,
            });
        }
        Ok(layout)
    }
}
