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
//! | `claims` | who owns a shard, and whether it is halted |
//! | `hints` | who is told at once that there is something to do |
//! | `log` | the log of a shard: [`PgLog`] |
//! | `snapshots` | copies of a shard's tables, and the trimming of its log |
//! | `jobs` | attempts at tasks that workers run |
//! | `moving` | moving agents from a single machine into a cluster, and back |
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
mod hints;
mod hosts;
mod jobs;
mod link;
mod log;
mod moving;
mod quiet;
mod schema;
mod session;
mod settings;
mod snapshots;
mod tls;

pub use calls::{MAX_CALL, TakenCall};
pub use claims::Claim;
pub use database::Database;
pub use doctor::{Health, Problem, Standby, Timeout};
pub use error::{ClusterError, Unusable};
pub use hints::{Hints, Topic};
pub use hosts::{HostFacts, HostRow, KEEP_HOSTS, Look};
pub use jobs::{
    Ended, Job, JobCount, JobKey, JobState, KEEP_WORKERS, MAX_PAYLOAD, MAX_PROGRESS, NewJob,
    Outcome, Put, Room, Standing, Taken, WORKER_LOST, WorkerRow, WorkerSeen,
};
pub use log::PgLog;
pub use moving::{Fenced, Moving};
pub use schema::{FORMAT, Layout, SHARDS, random_id};
pub use settings::{Limits, Settings};
pub use snapshots::{LogSize, PART, SnapshotInfo};
