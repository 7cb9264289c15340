//! A primary that is killed or left behind, and waits for the standby that are cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentry_cluster::{Database, Limits, Settings};
use agentry_core::cluster::ShardId;
use agentry_store::LogError;

use crate::{Appending, block, claim, halt, lead, open, reasons, shards};
use agentry_testbed::postgres::Pair;
use agentry_testbed::proxy::{Proxy, Way};
use agentry_testbed::until;

const SHARD: ShardId = ShardId(0);

/// Longer than a replicated commit takes on a busy machine, and short, so that the tests are.
const LIMITS: Limits = Limits {
    beat: Duration::from_secs(2),
    call: Duration::from_secs(2),
    bulk: Duration::from_secs(30),
};

/// A pair whose standby gets its records over a link, with a cluster on it.
fn pair() -> (Proxy, Pair, Settings, Database) {
    let mut link = None;
    let pair = Pair::start_over(|port| link.insert(block(Proxy::start(port))).port());
    let name = pair.primary.database();
    let settings = Settings::new(&pair.urls(&name), None, None)
        .unwrap()
        .with_limits(LIMITS);
    let database = block(Database::connect(&settings)).unwrap();
    block(database.init(shards(4))).unwrap();
    (link.unwrap(), pair, settings, database)
}

/// PostgreSQL's trap: it answers a commit whose wait was cancelled like one that is on the standby.
#[test]
fn a_cancelled_wait_for_the_standby_is_no_success_and_the_failover_decides() {
    let (replication, pair, settings, database) = pair();
    let mut log = lead(&settings, SHARD, block(claim(&database, SHARD, 1)).epoch);
    log.append(&[&halt("before")]).unwrap();
    replication.set(Way::Held);
    let appending = Appending::start(log, "doubtful");
    pair.wait_for_waiting("insert into agentry.log");
    pair.cancel_waits();
    // It is visible on the primary, and the barrier waits for the standby in its turn.
    pair.wait_for_waiting("set head = head where");
    let visible = pair
        .primary
        .psql(settings.database(), "select count(*) from agentry.log");
    assert_eq!(visible, "2");
    pair.cancel_waits();
    pair.wait_for_waiting("set head = head where");
    assert!(appending.is_under_way());

    // The failover loses the record.
    pair.primary.crash();
    replication.set(Way::Cut);
    pair.standby.promote();
    let (log, appended) = appending.end();
    assert_eq!(appended.unwrap().at.0, 2);
    assert_eq!(reasons(&*log), ["before", "doubtful"]);
    let stored = pair
        .standby
        .psql(settings.database(), "select count(*) from agentry.log");
    assert_eq!(stored, "2");
}

#[test]
fn claims_and_beats_whose_wait_for_the_standby_is_cancelled_are_unknown() {
    let (replication, pair, settings, database) = pair();
    let long = settings.with_limits(Limits {
        call: Duration::from_secs(60),
        beat: Duration::from_secs(60),
        ..LIMITS
    });
    let other = block(Database::connect(&long)).unwrap();
    replication.set(Way::Held);
    std::thread::scope(|scope| {
        let claimed = scope.spawn(|| block(claim_once(&other)));
        pair.wait_for_waiting("set owner");
        pair.cancel_waits();
        let error = claimed.join().unwrap().unwrap_err();
        assert!(
            matches!(error, agentry_cluster::ClusterError::Unconfirmed { .. }),
            "{error}"
        );
        assert!(error.is_unknown() && error.is_transient());
    });
    // It is visible, and nobody may rely on it.
    assert_eq!(
        block(database.view())
            .unwrap()
            .shard(SHARD)
            .unwrap()
            .epoch
            .0,
        1
    );
    replication.set(Way::Open);
    until("the standby is back", || block(claim_again(&database)));
}

async fn claim_once(
    database: &Database,
) -> Result<Option<agentry_cluster::Claim>, agentry_cluster::ClusterError> {
    use agentry_core::cluster::{Epoch, Incarnation};
    database
        .claim(SHARD, Epoch(0), Incarnation([1; 16]), 1)
        .await
}

async fn claim_again(database: &Database) -> bool {
    use agentry_core::cluster::{Epoch, Incarnation};
    match database
        .claim(SHARD, Epoch(1), Incarnation([2; 16]), 1)
        .await
    {
        Ok(claim) => claim.unwrap().epoch == Epoch(2),
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            false
        }
    }
}

/// Retries do not use up the server's connections.
#[test]
fn while_the_standby_is_away_one_statement_of_a_log_waits_at_the_server() {
    let (replication, pair, settings, database) = pair();
    let settings = settings.with_limits(Limits {
        call: Duration::from_millis(300),
        ..LIMITS
    });
    let epoch = block(claim(&database, SHARD, 1)).epoch;
    let log = lead(&settings, SHARD, epoch);
    let connections = || -> u32 {
        let sql = "select count(*) from pg_stat_activity where application_name like 'agentry log%' and state = 'active'";
        pair.primary.psql("postgres", sql).parse().unwrap()
    };
    replication.set(Way::Held);
    let appending = Appending::start(log, "one");
    pair.wait_for_waiting("insert into agentry.log");
    let before = logged(&pair);
    until("it has tried several times", || logged(&pair) > before + 5);
    assert_eq!(connections(), 1);
    assert!(appending.is_under_way());
    replication.set(Way::Open);
    assert_eq!(appending.end().1.unwrap().at.0, 1);
    assert_eq!(reasons(&*open(&settings, SHARD)), ["one"]);
}

/// How many connections the primary has accepted.
fn logged(pair: &Pair) -> usize {
    let sql = "select sessions from pg_stat_database where datname like 'd%' order by sessions desc limit 1";
    pair.primary.psql("postgres", sql).parse().unwrap()
}

#[test]
fn a_primary_that_is_killed_under_appends_loses_nothing_that_was_acknowledged() {
    let (replication, pair, settings, database) = pair();
    let done = Arc::new(AtomicUsize::new(0));
    let write = |shard| {
        let (settings, done) = (settings.clone(), Arc::clone(&done));
        let epoch = block(claim(&database, shard, 1)).epoch;
        std::thread::spawn(move || {
            let mut log = lead(&settings, shard, epoch);
            let mut acknowledged = Vec::new();
            while acknowledged.len() < 200 {
                let reason = acknowledged.len().to_string();
                let mark = log.append(&[&halt(&reason)]).unwrap();
                acknowledged.push(reason);
                assert_eq!(mark.at.0, acknowledged.len() as u64);
                done.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged
        })
    };
    let writers: Vec<_> = (0..4)
        .map(|shard| (ShardId(shard), write(ShardId(shard))))
        .collect();
    until("there are some", || done.load(Ordering::Relaxed) > 100);
    pair.primary.crash();
    replication.set(Way::Cut);
    pair.standby.promote();
    for (shard, writer) in writers {
        until("a writer ends", || writer.is_finished());
        assert_eq!(reasons(&*open(&settings, shard)), writer.join().unwrap());
    }
}

/// The standby was promoted while the old primary runs on and can still be reached.
#[test]
fn a_primary_that_was_left_behind_stops_nobody_and_acknowledges_nothing() {
    let (replication, pair, settings, database) = pair();
    let mut old = lead(&settings, SHARD, block(claim(&database, SHARD, 1)).epoch);
    let mut other = lead(
        &settings,
        ShardId(1),
        block(claim(&database, ShardId(1), 1)).epoch,
    );
    old.append(&[&halt("before")]).unwrap();
    other.append(&[&halt("before")]).unwrap();
    replication.set(Way::Cut);
    pair.standby.promote();
    let urls = [pair.standby.url(settings.database())];
    let promoted = Settings::new(&urls, None, None)
        .unwrap()
        .with_limits(LIMITS);
    let promoted = block(Database::connect(&promoted)).unwrap();
    let claimed = block(claim(&promoted, SHARD, 2));

    // The new owner may reach the old primary first, which does not know of the claim.
    let mut new = lead(&settings, SHARD, claimed.epoch);
    new.append(&[&halt("new")]).unwrap();
    // The old owner waits there for a standby that does not come, and then finds out.
    let error = Appending::start(old, "old").end().1.unwrap_err();
    assert!(matches!(error, LogError::Fenced), "{error}");
    assert_eq!(reasons(&*new), ["before", "new"]);
    // An owner whose shard nobody has claimed goes on at the new primary.
    let (other, appended) = Appending::start(other, "after").end();
    appended.unwrap();
    assert_eq!(reasons(&*other), ["before", "after"]);
    let stored = pair
        .standby
        .psql(settings.database(), "select count(*) from agentry.log");
    assert_eq!(stored, "4");
}
