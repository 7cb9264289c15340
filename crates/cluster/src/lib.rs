//! What the hosts of a cluster share, in PostgreSQL.
//!
//! | module | content |
//! |---|---|
//! | `settings`, `tls` | how the database is reached: [`Settings`] |
//! | `session`, `link` | one connection; one that is made again when it was lost |
//! | `database` | the database as hosts use it: [`Database`] |
//! | `schema` | the tables, and [`Database::init`] |
//! | `hosts` | beats, and what they show |
//! | `calls` | requests that a host passes on to the owner of a shard |
//! | `claims` | who owns a shard |
//! | `log` | the log of a shard: [`PgLog`] |
//! | `snapshots` | copies of a shard's tables, and the trimming of its log |
//! | `jobs` | attempts at tasks that workers run |
//! | `doctor` | whether the server keeps what it acknowledges |
//! | `quiet` | parameters that no log shows |
//! | `error` | [`ClusterError`] |
//!
//! **What is acknowledged is on the standby, too.** PostgreSQL answers a commit when its synchronous
//! standby has it. It has one trap: a wait for the standby that is cancelled is answered like success,
//! with a warning, and a failover then loses what was answered. So a call whose answer comes with that
//! warning has an unknown outcome, exactly as one without an answer ([`ClusterError::is_unknown`]). No
//! statement of ours has a limit at the server, and none is ever cancelled there: limits are ours,
//! and when one is reached, the connection is dropped. What is read proves nothing by itself, because
//! it may be such a commit; it is durable once a later write of ours was acknowledged.
//!
//! Nothing here decides who owns what: see `agentry_core::cluster`.

mod calls;
mod claims;
mod database;
mod doctor;
mod error;
mod hosts;
mod jobs;
mod link;
mod log;
mod quiet;
mod schema;
mod session;
mod settings;
mod snapshots;
mod tls;

pub use calls::{MAX_CALL, TakenCall};
pub use claims::Claim;
pub use database::Database;
pub use doctor::{Health, Standby};
pub use error::{ClusterError, Unusable};
pub use hosts::{HostRow, KEEP_HOSTS};
pub use jobs::{
    Ended, Hints, Job, JobKey, JobState, MAX_PAYLOAD, MAX_PROGRESS, NewJob, Outcome, Put, Standing,
    Taken, Topic,
};
pub use log::PgLog;
pub use schema::{FORMAT, Layout, SHARDS};
pub use settings::{Limits, Settings};
pub use snapshots::{LogSize, PART, SnapshotInfo};
