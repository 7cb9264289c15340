//! Why the database of a cluster cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use agentry_core::cluster::Incarnation;
use tokio_postgres::error::{DbError, Severity};

/// What a lost answer means.
const UNKNOWN: &str = "it is unknown whether it was done";

/// An error of the database, or of what leads to it. No text has a password in it, or the rest of a
/// URL: only host, port and what the server said.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A URL of the configuration cannot be read. It may hold a password, so it is not repeated.
    #[error("the database URL number {number} {why}")]
    Url {
        /// Which, from 1 on.
        number: usize,
        /// What is wrong with it: a verb and its object.
        why: &'static str,
    },
    /// The certificates that the server's certificate is verified with cannot be used.
    #[error("reading the root certificates of the database's TLS from {from}: {why}")]
    RootCertificate {
        /// A file, or this machine.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// No server could be used.
    #[error("no PostgreSQL server of the cluster can be used: {}", reasons(tried))]
    Unreachable {
        /// Each server that was tried, and why it cannot be used.
        tried: Vec<Unusable>,
    },
    /// The server gave no answer in time.
    #[error("{what} on {server}: no answer within {limit:?}, so {UNKNOWN}")]
    TimedOut {
        /// What was asked for.
        what: &'static str,
        /// The server.
        server: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection broke before the answer was complete.
    #[error("{what} on {server}: the connection was lost ({why}), so {UNKNOWN}")]
    Lost {
        /// What was asked for.
        what: &'static str,
        /// The server.
        server: String,
        /// What is known of the reason.
        why: String,
    },
    /// The server ended the wait for its synchronous standby. What was done is visible, and a
    /// failover may lose it.
    #[error(
        "{what} on {server}: the wait for the synchronous standby was cancelled, so a failover may undo it. Cancel no statement of agentry on the server"
    )]
    Unconfirmed {
        /// What was asked for.
        what: &'static str,
        /// The server.
        server: String,
    },
    /// The server refused a statement, and nothing was changed.
    #[error(
        "{what} on {server}: the database refuses it: {message} (SQLSTATE {code}){}",
        fix(code)
    )]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The server.
        server: String,
        /// The SQLSTATE.
        code: String,
        /// What the server said.
        message: String,
    },
    /// The database cannot hold every text.
    #[error(
        "the database has the encoding {found}, which has not all characters of messages: create it with `encoding 'UTF8'`"
    )]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// There is no cluster in the database.
    #[error("the database holds no agentry cluster: create it with `agentry cluster init`")]
    NotInitialised,
    /// The cluster is being filled from the store of a single machine.
    #[error(
        "the cluster is being filled from a single machine, and that was interrupted: run `agentry cluster import` there again"
    )]
    Importing,
    /// The agents of the cluster were moved to a single machine.
    #[error(
        "the agents of the cluster {id} were moved to a single machine with `agentry cluster export`: run them there, without the [cluster] table. To begin a cluster again, drop the schema `agentry` of the database, then run `agentry cluster init` and `agentry cluster import`"
    )]
    Exported {
        /// The cluster.
        id: Incarnation,
    },
    /// A cluster cannot be filled or closed, because it is in use.
    #[error(
        "the cluster is in use: a host has joined it, or another command moves its agents. Stop all hosts, and try again"
    )]
    InUse,
    /// The cluster has another number of shards. It cannot be changed.
    #[error(
        "the cluster in the database has {found} shards, not {asked}: their number is fixed when a cluster is created, so leave it out, or use another database"
    )]
    OtherShards {
        /// How many it has.
        found: u16,
        /// How many were asked for.
        asked: u16,
    },
    /// A later version of agentry has changed the tables.
    #[error(
        "the cluster's tables have the format {found}, and this agentry knows formats up to {known} only: use a newer agentry on this host"
    )]
    NewerFormat {
        /// Their format.
        found: u32,
        /// The latest that this version knows.
        known: u32,
    },
    /// Something is larger than what the database takes.
    #[error("{what} has {bytes} bytes, and at most {most} can be stored in the cluster's database")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// A row is not what agentry writes.
    #[error("{what} in the cluster's database is damaged: {why}")]
    Damaged {
        /// What.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file of this host cannot be read or written.
    #[error("using {} for a snapshot: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

/// A server, and why it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{server}: {why}")]
pub struct Unusable {
    /// Its host and port.
    pub server: String,
    /// The reason, and what to do about it.
    pub why: String,
    /// Whether it may be usable later without a change to the configuration.
    pub is_transient: bool,
}

fn reasons(tried: &[Unusable]) -> String {
    let reasons: Vec<_> = tried.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

/// What to do about an SQLSTATE.
fn fix(code: &str) -> &'static str {
    match code {
        "42501" => ". Grant the role of the URL the rights on the schema `agentry`",
        "42P01" | "3F000" | "42703" => ". Run `agentry cluster init`",
        "53100" => ". Make room on the server's disk",
        "53300" => ". Raise max_connections of the server",
        "25006" => ". The server takes no writes: it is a standby",
        _ => "",
    }
}

/// Whether what fails with an SQLSTATE may succeed later: connections, resources, locks, operators
/// and the system.
pub(crate) fn is_passing(code: &str) -> bool {
    code == "25006" || ["08", "40", "53", "55", "57", "58"].contains(&code.get(..2).unwrap_or(""))
}

/// Whether the server ended with the statement: then it does not say whether it was done.
pub(crate) fn is_fatal(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // A server that does not say it without regard to its language is older than 9.6.
        None => true,
    }
}

impl ClusterError {
    /// Whether the same call may succeed later without a change by an operator.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::Lost { .. } | Self::Unconfirmed { .. } => true,
            Self::Unreachable { tried } => tried.iter().any(|one| one.is_transient),
            Self::Refused { code, .. } => is_passing(code),
            Self::Url { .. }
            | Self::RootCertificate { .. }
            | Self::Encoding { .. }
            | Self::NotInitialised
            | Self::Importing
            | Self::Exported { .. }
            | Self::InUse
            | Self::OtherShards { .. }
            | Self::NewerFormat { .. }
            | Self::TooLarge { .. }
            | Self::Damaged { .. }
            | Self::File { .. } => false,
        }
    }

    /// Whether it is unknown if the database has done what was asked for. After every other error it
    /// has not.
    pub const fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. } | Self::Lost { .. } | Self::Unconfirmed { .. }
        )
    }

    /// The SQLSTATE of a refusal.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The error for a value that agentry does not write.
    pub(crate) fn damaged(what: &'static str, why: &dyn fmt::Display) -> Self {
        Self::Damaged {
            what,
            why: why.to_string(),
        }
    }
}
