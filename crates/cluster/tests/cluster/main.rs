//! What hosts share, on real servers of PostgreSQL.
//!
//! | module | what it tests |
//! |---|---|
//! | [`connect`] | servers, passwords, TLS, and what errors say |
//! | [`hosts`] | the tables, beats and claims |
//! | [`log`] | the laws of a log, and hosts that race for one |
//! | [`laws`] | the laws of the store's test kit |
//! | [`links`] | appends over links that fail |
//! | [`failover`] | a primary that is killed or left behind, and waits that are cancelled |
//! | [`snapshots`] | snapshots, and what is trimmed |
//! | [`jobs`] | the queue of jobs |
//! | [`moving`] | filling a cluster, and closing it |
//!
//! The tests of a module that kill no server share one, each with a database of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod connect;
mod failover;
mod hosts;
mod jobs;
mod laws;
mod links;
mod log;
mod moving;
mod snapshots;

use std::num::NonZeroU16;
use std::sync::OnceLock;
use std::thread::JoinHandle;

use agentry_cluster::{Claim, Database, PgLog, Settings};
use agentry_core::Commit;
use agentry_core::cluster::{Epoch, Incarnation, ShardId};
use agentry_store::{Log, LogError, Mark, Position, Waits};
use agentry_testbed::postgres::Server;
use agentry_testbed::until;
use tokio::runtime::Runtime;

/// A server that all tests use which leave it running.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

fn shards(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

/// A cluster with four shards in a database of its own.
async fn cluster() -> (Settings, Database) {
    let url = server().url(&server().database());
    let settings = Settings::new(&[url], None, None).unwrap();
    let database = Database::connect(&settings).await.unwrap();
    database.init(shards(4)).await.unwrap();
    (settings, database)
}

/// Runs what is asynchronous, for tests whose threads block on logs.
fn block<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| Runtime::new().unwrap())
        .block_on(work)
}

/// A host's claim of a shard, whoever owns it.
async fn claim(database: &Database, shard: ShardId, host: u8) -> Claim {
    let seen = database.view().await.unwrap().shard(shard).unwrap().epoch;
    let me = Incarnation([host; 16]);
    database.claim(shard, seen, me, 1).await.unwrap().unwrap()
}

fn open(settings: &Settings, shard: ShardId) -> Box<dyn Log> {
    PgLog::open(settings, shard, Waits::default()).unwrap()
}

/// The log of a shard, opened by a host that leads it.
fn lead(settings: &Settings, shard: ShardId, epoch: Epoch) -> Box<dyn Log> {
    let mut log = open(settings, shard);
    log.lead(epoch).unwrap();
    log
}

fn halt(reason: &str) -> Commit {
    let reason = reason.to_owned();
    Commit::Halt { reason }
}

/// An append on a thread of its own. If a test fails, nobody waits for it.
struct Appending(JoinHandle<(Box<dyn Log>, Result<Mark, LogError>)>);

impl Appending {
    fn start(mut log: Box<dyn Log>, reason: &'static str) -> Self {
        Self(std::thread::spawn(move || {
            let appended = log.append(&[&halt(reason)]);
            (log, appended)
        }))
    }

    fn is_under_way(&self) -> bool {
        !self.0.is_finished()
    }

    /// Waits for its end.
    fn end(self) -> (Box<dyn Log>, Result<Mark, LogError>) {
        until("the append ends", || !self.is_under_way());
        self.0.join().unwrap()
    }
}

/// The reasons of all halts in a log, in order.
fn reasons(log: &dyn Log) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), Position(0));
    loop {
        let records = log.read(after, usize::MAX).unwrap();
        let Some(last) = records.last() else {
            return all;
        };
        after = last.at;
        all.extend(
            records
                .into_iter()
                .flat_map(|record| record.commits)
                .map(|commit| {
                    let Commit::Halt { reason } = commit else {
                        panic!("{commit:?}");
                    };
                    reason
                }),
        );
    }
}
